//! Floor 3: the embedded MQTT broker (the rmqtt library), its access rules and its retained messages; or a broker beside
//! the hub, see [`outside`].
//!
//! A device's message is handed to ingest from inside the broker's own check, and the device gets
//! its PUBACK only when ingest has committed it: acknowledged means stored. See [`access`].

mod access;
pub mod outside;
mod retain;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lectern_wire::topic::Leaf;
use rmqtt::codec::types::Publish as Packet;
use rmqtt::context::ServerContext;
use rmqtt::hook::Type;
use rmqtt::net::{Builder, Listener};
use rmqtt::server::MqttServer;
use rmqtt::session::SessionState;
use rmqtt::types::{From, Id, Publish, QoS};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::door::mqtt::{self, Callers};
use crate::door::tls::{Gate, Tls};
use crate::model::arrival::{Arrival, Down};
use crate::model::barred::Barred;
use crate::model::count::Counts;
use crate::store::Store;

/// Largest MQTT packet. Payloads end at 16 KiB; the rest is room for topics and properties.
const MAX_PACKET: u32 = 64 * 1024;

/// What the broker needs from the floors around it.
#[derive(Debug)]
pub struct Deps {
    /// Accounts.
    pub store: Store,
    /// Where messages go.
    pub arrivals: mpsc::Sender<Arrival>,
    /// What is to be published down.
    pub downs: mpsc::Receiver<Down>,
    /// Counters.
    pub counts: Arc<Counts>,
    /// Devices that are to be cut off.
    pub barred: Barred,
    /// Where the port can be reached from other machines: what rooms are met with there.
    pub tls: Option<Tls>,
}

/// Where rooms report to.
pub enum Front {
    /// The broker inside the hub.
    Inside(Box<Broker>),
    /// One beside it.
    Outside(Box<outside::Outside>),
}

impl Front {
    /// Takes the port of the broker inside, or gets ready to call the one beside.
    ///
    /// # Errors
    /// A sentence when the port cannot be had.
    pub async fn open(config: &Config, deps: Deps) -> Result<Self, String> {
        Ok(match &config.outside {
            Some(settings) => Self::Outside(Box::new(outside::Outside { settings: settings.clone(), deps })),
            None => Self::Inside(Box::new(Broker::bind(config.mqtt_listen, deps).await?)),
        })
    }

    /// The port rooms are to be told.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            Self::Inside(broker) => broker.address.port(),
            Self::Outside(outside) => outside.settings.port(),
        }
    }

    /// Hears rooms until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        match self {
            Self::Inside(broker) => broker.run(stop).await,
            Self::Outside(outside) => outside.run(stop).await,
        }
    }
}

/// A broker that listens but does not answer yet.
pub struct Broker {
    context: ServerContext,
    listener: Listener,
    /// The broker's own port: the one rooms know, or one that only the gate knows.
    own: SocketAddr,
    gate: Option<Gate>,
    deps: Deps,
    /// Where rooms reach it.
    pub address: SocketAddr,
}

impl Broker {
    /// Takes the port.
    ///
    /// # Errors
    /// A sentence when the port cannot be had.
    pub async fn bind(listen: SocketAddr, deps: Deps) -> Result<Self, String> {
        let fault = |e: &dyn std::fmt::Display| {
            format!("MQTT cannot listen on {listen}: {e}; choose another mqtt.listen")
        };
        let gate = match &deps.tls {
            Some(tls) => {
                let port = TcpListener::bind(listen).await.map_err(|e| fault(&e))?;
                Some(Gate::new(port, tls.clone(), None).map_err(|e| fault(&e))?)
            }
            None => None,
        };
        let own = if gate.is_some() { SocketAddr::from(([127, 0, 0, 1], 0)) } else { listen };
        // A busy machine must not turn classrooms away, so rmqtt's own load shedding is off.
        let context = ServerContext::new().busy_check_enable(false).build().await;
        let listener = Builder::new()
            .name("lectern")
            .laddr(own)
            .nodelay(true)
            .reuseaddr(Some(true))
            .allow_anonymous(false)
            .max_packet_size(MAX_PACKET)
            .max_clientid_len(40)
            .max_topic_levels(8)
            .max_subscriptions(16)
            .handshake_timeout(Duration::from_secs(15))
            .bind()
            .and_then(Listener::tcp)
            .map_err(|e: rmqtt::Error| fault(&e))?;
        let own = listener.local_addr().map_err(|e| fault(&e))?;
        let address = gate.as_ref().map_or(own, Gate::address);
        Ok(Self { context, listener, own, gate, deps, address })
    }

    /// Answers devices until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let Self { context, listener, own, gate, deps, .. } = self;
        *context.extends.retain_mut().await = Box::new(retain::Ram::default());
        let callers = gate.as_ref().map(|_| Callers::default());
        let access =
            access::Access::new(deps.store, deps.arrivals, deps.counts, deps.barred, callers.clone());
        let access = Arc::new(access);
        let register = context.extends.hook_mgr().register();
        for hook in [
            Type::ClientAuthenticate,
            Type::ClientConnected,
            Type::ClientSubscribeCheckAcl,
            Type::MessagePublishCheckAcl,
            Type::MessagePublish,
        ] {
            register.add(hook, Box::new(access::Hook(Arc::downgrade(&access)))).await;
        }
        register.start().await;
        let server = MqttServer::new(context.clone()).listener_by_id(listener, own.port()).build();
        let mut downs = deps.downs;
        let send = async {
            while let Some(down) = downs.recv().await {
                publish(&context, own, down).await;
            }
        };
        let pass = async {
            match gate.zip(callers) {
                Some((gate, callers)) => mqtt::run(gate, own, callers, stop.clone()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            outcome = server.run() => if let Err(e) = outcome {
                tracing::error!("the MQTT broker ended: {e}");
            },
            () = send => {}
            () = pass => {}
            () = stop.cancelled() => {}
        }
        register.stop().await;
    }
}

/// Publishes one message to its device, as the hub itself.
async fn publish(context: &ServerContext, address: SocketAddr, down: Down) {
    let topic = down.topics.of(&down.leaf);
    // What a room is to go by stands at the broker until something newer does.
    let retain = down.leaf == Leaf::Desired;
    let id = Id::new(context.node.id(), address.port(), Some(address), None, "lectern-hub".into(), None);
    let packet = Packet {
        dup: false,
        retain,
        qos: QoS::AtLeastOnce,
        topic: topic.into(),
        packet_id: None,
        payload: down.payload.into(),
        properties: None,
    };
    let message = Publish::from(packet).create_time(lectern_base::clock::wall_ms());
    if let Err(e) = SessionState::forwards(context, From::from_system(id), message, false, None).await {
        // The device repeats what is not acknowledged, and a command is sent until it is taken in.
        tracing::debug!(device = %down.topics.device, "a message could not be published down: {e}");
    }
}
