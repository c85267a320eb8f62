//! What a page may send, damaged in thousands of ways.

use lectern_base::mangle::{PLAIN, mangle};

use super::{Order, beyond, clips, first, usage};
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

#[test]
fn what_is_typed_from_a_card_is_read_or_refused() {
    mangle(repository(), "first", &[], PLAIN, |bytes| {
        let Ok(typed) = serde_json::from_slice::<first::Typed>(bytes) else { return };
        let (hub, code) = typed.card();
        match first::read(&hub, &code) {
            Ok((url, _)) => assert!(url.host().is_some() && url.username().is_empty() && url.path() == "/"),
            Err(e) => assert!(["code", "address", "plain"].contains(&e.code()), "{e}"),
        }
    });
}
