//! In whose words the machine's health is told.

/// How messages are put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dialect {
    /// As [`lectern_wire::topic::Topics`] says.
    #[default]
    Lectern,
    /// As ThingsBoard's MQTT device API says.
    ThingsBoard,
}

/// How Home Assistant is told what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// See [`Form`].
    pub form: Form,
    /// First level of its topics.
    pub prefix: String,
}

/// The two forms of MQTT discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One document for the device, with all its components: Home Assistant 2024.12 and later.
    Device,
    /// One document for each component: every version.
    Components,
}
