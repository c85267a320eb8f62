//! What a page may send, damaged in thousands of ways.

use lectern_base::mangle::{PLAIN, mangle};

use super::{Order, beyond, clips, usage};
use crate::mangled::repository;

#[test]
fn what_the_page_is_sent_is_read_or_refused() {
    fn json<T: serde::de::DeserializeOwned>(bytes: &[u8]) {
        drop(serde_json::from_slice::<T>(bytes));
    }
    mangle(repository(), "page", &[], PLAIN, |bytes| {
        if let Ok(order) = serde_json::from_slice::<Order>(bytes) {
            drop(order.about.fault());
        }
        json::<beyond::Word>(bytes);
        json::<beyond::Ticket>(bytes);
        json::<beyond::Reply>(bytes);
        json::<clips::Asked>(bytes);
        json::<usage::Said>(bytes);
    });
}
