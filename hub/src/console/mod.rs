//! Floor 4: the console.
use std::sync::Arc;
use axum::Router;
use lectern_wire::sign::PublicKey;
use tokio_util::sync::CancellationToken;
use crate::model::{bell::Bell, count::Counts};
use crate::store::{Store, objects::Objects};
/// The console's handle.
#[derive(Debug, Clone)]
pub struct Console { inner: Arc<Deps> }
/// deps
#[derive(Debug)]
pub struct Deps { pub store: Store, pub objects: Objects, pub hub_key: PublicKey, pub bell: Bell, pub counts: Arc<Counts>, pub school: String, pub mqtt_port: u16 }
impl Console { pub fn new(deps: Deps) -> Self { Self { inner: Arc::new(deps) } } }
pub fn router(_c: Console, _stop: CancellationToken) -> Router { Router::new() }
