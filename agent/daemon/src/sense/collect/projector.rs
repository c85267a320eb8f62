//! The projector, by PJLink: power, lamp, errors, input.

use std::time::Duration;

use super::Collector;
use crate::model::projector::Projector;
use crate::model::reading::{Found, Group};
use crate::platform::host::Host;
use crate::platform::pjlink;

impl Collector for Projector {
    fn name(&self) -> &'static str {
        "projector"
    }

    fn group(&self) -> Group {
        Group::Av
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn patience(&self) -> Duration {
        // Eight questions to something that is just warming up.
        Duration::from_secs(20)
    }

    fn collect(&mut self, _host: &Host, _now: Duration) -> Found {
        let mut found = Found::default();
        let report = match pjlink::ask(self) {
            Ok(report) => report,
            Err(why) => {
                found.lack("projector_power_code", why);
                return found;
            }
        };
        match report.power {
            Some(power) => found.put("projector_power_code", power.code().into()),
            None => found.lack("projector_power_code", "the projector does not say whether it is on"),
        }
        match report.lamps.iter().map(|(hours, _)| *hours).max() {
            Some(hours) => found.put("projector_lamp_s", f64::from(hours) * 3600.0),
            None => found.lack("projector_lamp_s", "the projector tells no lamp hours (a laser has none)"),
        }
        found.count("projector_errors_count", report.faults.iter().filter(|(_, error)| *error).count());
        found.count("projector_warnings_count", report.faults.iter().filter(|(_, error)| !error).count());
        if let Some(input) = report.input {
            found.put("projector_input_code", input.into());
        }
        if let Some(hours) = report.filter_h {
            found.put("projector_filter_s", f64::from(hours) * 3600.0);
        }
        if !report.model.is_empty() {
            found.say("projector", format!("{}, PJLink class {}", report.model, report.class));
        }
        if !report.faults.is_empty() {
            let words = report
                .faults
                .iter()
                .map(|(part, error)| format!("{part}: {}", if *error { "error" } else { "warning" }));
            found.say("projector_faults", words.collect::<Vec<_>>().join(", "));
        }
        found
    }
}
