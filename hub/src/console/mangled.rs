//! What the console's forms send, damaged in thousands of ways: read as axum reads it, and as far as anything is made of it.

use axum::body::Body;
use axum::extract::{Form, FromRequest, Multipart, Request};
use axum::http::header::CONTENT_TYPE;
use lectern_base::mangle::{Limit, mangle};
use lectern_wire::telemetry::Event;
use lectern_wire::usage::Usage;
use serde::de::DeserializeOwned;

use super::{commands, devices, login, register, repairs, timetable, tokens};
use crate::mangled::repository;
use crate::model::timetable::SchoolTable;

/// As browsers make them up; the seeds are written with this one.
const BOUNDARY: &str = "multipart/form-data; boundary=----lectern";
/// A form is decoded field by field, and its faults are told in sentences.
const LIMIT: Limit = Limit { per_byte: 2000, at_rest: 1 << 20 };

fn sent(kind: &str, bytes: &[u8]) -> Request {
    let request = Request::post("/").header(CONTENT_TYPE, kind).body(Body::from(bytes.to_vec()));
    request.expect("a request")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

#[test]
fn what_forms_send_is_read_or_refused() {
    let runtime = runtime();
    let row =
        std::fs::read(repository().join("tests/seeds/payload/usage.json")).expect("a row of the register");
    let row: Event = serde_json::from_slice(&row).expect("an event");
    let held: Usage = serde_json::from_value(row.data).expect("a row");
    mangle(repository(), "form", &[], LIMIT, |bytes| {
        fn form<T: DeserializeOwned>(runtime: &tokio::runtime::Runtime, bytes: &[u8]) -> Option<T> {
            let request = sent("application/x-www-form-urlencoded", bytes);
            runtime.block_on(Form::<T>::from_request(request, &())).ok().map(|Form(form)| form)
        }
        if let Some(verb) = form::<commands::Wish>(&runtime, bytes).and_then(commands::Wish::verb) {
            drop(verb.fault());
        }
        if let Some(wish) = form::<devices::Wish>(&runtime, bytes) {
            drop(devices::checked(&wish));
        }
        if let Some(say) = form::<register::period::Say>(&runtime, bytes) {
            drop(register::period::word(&say, &held, "admin"));
        }
        let mut table = SchoolTable::default();
        if let Some(bells) = form::<timetable::Bells>(&runtime, bytes) {
            drop(timetable::read_bells(&bells, &mut table));
        }
        if let Some(wish) = form::<timetable::Wish>(&runtime, bytes) {
            drop(timetable::otherwise(&wish, &table));
        }
        drop(form::<timetable::Apply>(&runtime, bytes));
        drop(form::<timetable::TakeBack>(&runtime, bytes));
        drop(form::<tokens::Again>(&runtime, bytes));
        drop(form::<repairs::Press>(&runtime, bytes));
        drop(form::<login::Entry>(&runtime, bytes));
    });
}

#[test]
fn rooms_that_a_form_brings_are_read_or_refused() {
    let runtime = runtime();
    let limit = Limit { per_byte: 4000, ..LIMIT };
    mangle(repository(), "rooms-form", &[], limit, |bytes| {
        runtime.block_on(async {
            let Ok(form) = Multipart::from_request(sent(BOUNDARY, bytes), &()).await else { return };
            drop(tokens::asked(form).await.and_then(|asked| asked.wish("admin".into())));
        });
    });
}
