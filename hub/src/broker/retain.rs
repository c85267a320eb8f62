//! Retained messages, in memory: state and inventory are said anew by every device that connects,
//! and the hub keeps its own table, so nothing is lost with them. rmqtt's own default keeps none.

use std::time::Duration;

use async_trait::async_trait;
use rmqtt::Result;
use rmqtt::retain::{DefaultRetainStorage, RetainStorage};
use rmqtt::types::{Retain, TopicFilter, TopicName};

/// Most messages kept: a handful for each of several thousand devices.
const MOST: isize = 50_000;

/// The store.
#[derive(Default)]
pub struct Ram(DefaultRetainStorage);

#[async_trait]
impl RetainStorage for Ram {
    fn enable(&self) -> bool {
        true
    }

    async fn set(&self, topic: &TopicName, retain: Retain, _expiry: Option<Duration>) -> Result<()> {
        if !retain.publish.payload.is_empty() && self.0.count().await >= MOST {
            tracing::warn!("{MOST} retained messages are kept; the one for {topic} is not");
            return Ok(());
        }
        // Without an end: rmqtt's general five minutes would make a quiet device look as if it had never been.
        self.0.set_with_timeout(topic, retain, None).await
    }

    async fn get(&self, filter: &TopicFilter) -> Result<Vec<(TopicName, Retain)>> {
        self.0.get_message(filter).await
    }

    async fn count(&self) -> isize {
        self.0.count().await
    }

    async fn max(&self) -> isize {
        self.0.max().await
    }
}
