//! Looking at the control plane through the driver.

use serde_json::{Value, json};

use super::step::{Outcome, Step, expect, json_of};
use super::{Player, step};

/// The answer of a call as JSON; a refusal ends the step with it.
macro_rules! answer {
    ($outcome:expr) => {
        match $outcome {
            Ok(text) => json_of(&text)?,
            Err(error) => return Ok(Err(error)),
        }
    };
}

fn number_of(list: &Value) -> usize {
    list.as_array().map_or(0, Vec::len)
}

/// The list that a member is; left out, it is an empty one.
fn list_of(value: &Value) -> Value {
    if value.is_null() { json!([]) } else { value.clone() }
}

impl Player<'_> {
    pub(super) fn logs(&mut self, step: &Step<'_>) -> Result<Outcome, String> {
        let id = self.id(step)?;
        let (source, want) = (step.get("source").as_str(), step.get("are"));
        match self.calls.make("logs", &[Some(&id), source])?.outcome() {
            Ok(text) => expect("the log", text, want).map(|()| Ok(String::new())),
            refused => Ok(refused),
        }
    }

    pub(super) fn check(&mut self, step: &Step<'_>) -> Result<Outcome, String> {
        let id = self.id(step)?;
        let names = ["state", "reason", "text", "observed", "on", "timed", "vm_is", "warnings", "boots"];
        let [state, reason, text, observed, on, timed, vm_is, warnings, boots] =
            names.map(|name| step.get(name));
        let fact = answer!(self.call("get", &[&id])?);
        expect("the state", fact["state"].clone(), state)?;
        expect("the reason", fact["reason"]["code"].clone(), reason)?;
        expect("observed", fact["observed"].clone(), observed)?;
        expect("the host", fact["host_id"].clone(), on)?;
        expect("the warnings", list_of(&fact["warnings"]), warnings)?;
        expect("the boots", fact["boots"].clone(), boots)?;
        let said = fact["reason"]["text"].as_str().unwrap_or_default();
        if !said.contains(text.as_str().unwrap_or_default()) {
            return Err(format!("the reason is {said:?}"));
        }
        if let Some(name) = vm_is.as_str() {
            expect("the VM", fact["vm"].clone(), &self.named(name).into())?;
        }
        for phase in timed.as_array().into_iter().flatten() {
            if fact["timings"][phase.as_str().unwrap_or_default()].is_null() {
                return Err(format!("the phase {phase} was not timed"));
            }
        }
        Ok(Ok(String::new()))
    }

    pub(super) fn check_snapshot(&mut self, step: &Step<'_>) -> Result<Outcome, String> {
        let id = self.named(step.text("snapshot")?);
        let [state, mode, reason, parent, lineage] =
            ["state", "mode", "reason", "parent", "lineage"].map(|name| step.get(name));
        let fact = answer!(self.call("snapshot", &[&id])?);
        expect("the state", fact["state"].clone(), state)?;
        expect("the mode", fact["mode"].clone(), mode)?;
        expect("the reason", fact["reason"]["code"].clone(), reason)?;
        if let Some(name) = parent.as_str() {
            expect("the parent", fact["parent_snapshot_id"].clone(), &self.named(name).into())?;
        }
        if let Some(names) = lineage.as_array() {
            let want: Vec<String> =
                names.iter().filter_map(Value::as_str).map(|name| self.named(name)).collect();
            let line = answer!(self.call("lineage", &[&id])?);
            let got: Vec<Value> =
                line["snapshots"].as_array().into_iter().flatten().map(|s| s["id"].clone()).collect();
            expect("the lineage", got, &want.into())?;
        }
        Ok(Ok(String::new()))
    }

    pub(super) fn check_host(&mut self, step: &Step<'_>) -> Result<Outcome, String> {
        let id = step.text("host")?.to_owned();
        let [state, liveness, taken, vms, warnings] =
            ["state", "liveness", "taken", "vms", "warnings"].map(|name| step.get(name));
        let host = answer!(self.call("host", &[&id])?);
        expect("the state", host["state"].clone(), state)?;
        expect("the liveness", host["liveness"]["state"].clone(), liveness)?;
        expect("the warnings", number_of(&host["warnings"]), warnings)?;
        for (key, want) in taken.as_object().into_iter().flatten() {
            expect(&format!("taken {key}"), host["allocated"][key].clone(), want)?;
        }
        if self.is_inside() {
            let seen = self.ask(&json!({"do": "vms", "host": id}))?;
            expect("the number of VMs", seen, vms)?;
        }
        Ok(Ok(String::new()))
    }

    pub(super) fn dead_letters(&mut self, step: &Step<'_>) -> Result<Outcome, String> {
        let letters = answer!(self.call("dead_letters", &[])?);
        let ids: Vec<Value> = letters["dead_letters"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|letter| letter["id"].clone())
            .collect();
        expect("the dead letters", ids, step.get("are")).map(|()| Ok(String::new()))
    }

    pub(super) fn events(&mut self, step: &Step<'_>) -> Result<Outcome, String> {
        let about = self.named(step.text("about")?);
        let mut last = step.get("after").as_u64().unwrap_or(0);
        let newest = self.call("newest_event", &[])?.map_err(|error| error.message)?;
        let frames = match self.call("events", &[&last.to_string(), &newest])? {
            Ok(frames) => frames,
            Err(error) => return Ok(Err(error)),
        };
        let mut got = Vec::new();
        for line in frames.lines() {
            let event: Value = step::typed(line)?;
            let sequence = event["sequence"].as_u64().ok_or_else(|| format!("{line} is no event"))?;
            if sequence != last + 1 {
                return Err(format!("event {sequence} follows event {last}"));
            }
            last = sequence;
            if event["subject"]["id"].as_str() == Some(&about) {
                got.push(event["event"].clone());
            }
        }
        expect("the events", got, step.get("are")).map(|()| Ok(String::new()))
    }
}
