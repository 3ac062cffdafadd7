//! Every problem of an application configuration, not only the first.
//!
//! The runtime's own parser decides what is right, and stops at the first thing that is not. So what it names is
//! written down, mended in a copy, and the copy is given to it again, until it is content. Nothing that is mended
//! ever runs.

use fuse_edge::{AppConfig, Error};
use serde::Serialize;
use serde_json::Value;

mod document;
mod mend;

use document::Document;

/// How grave a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// It will not load, or will fail when it runs.
    Error,
    /// It runs; a reviewer should know.
    Warning,
}

impl Severity {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    pub(crate) severity: Severity,
    /// JSON path in the configuration, such as `$.modules[0].policy.stack_size`.
    pub(crate) path: String,
    pub(crate) what: String,
}

impl Problem {
    pub(crate) fn error(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self { severity: Severity::Error, path: path.into(), what: what.into() }
    }

    pub(crate) fn warning(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, path: path.into(), what: what.into() }
    }
}

/// A configuration with all that is wrong in it.
#[derive(Debug, Default)]
pub(crate) struct Reviewed {
    pub(crate) problems: Vec<Problem>,
    /// The application; mended where problems were found, absent where it could not be.
    pub(crate) app: Option<AppConfig>,
    /// For each module of `app`, where it is in the file.
    pub(crate) paths: Vec<String>,
}

/// Most problems that are looked for: a file with more is not a configuration.
const PROBLEMS_MAX: usize = 1000;

/// Reviews the text of an `app_config.json`.
pub(crate) fn review(text: &str) -> Reviewed {
    let mut reviewed = Reviewed::default();
    let (value, twice) = match document::parse(text) {
        Ok(parsed) => parsed,
        Err(e) => {
            reviewed.problems.push(Problem::error("$", format!("this is not valid JSON: {e}")));
            return reviewed;
        }
    };
    reviewed.problems.extend(twice.into_iter().map(|path| Problem::error(path, "the key is there twice")));
    let mut document = Document::new(value);
    for _ in 0..PROBLEMS_MAX {
        match AppConfig::from_json(&document.text()) {
            Ok(app) => {
                reviewed.paths =
                    (0..app.modules.len()).map(|i| document.original(&format!("$.modules[{i}]"))).collect();
                reviewed.app = Some(app);
                return reviewed;
            }
            Err(Error::Config { path, what }) => {
                let problem = Problem::error(document.original(&path), what.clone());
                // A group may clash by its name and by its bit, which the parser says in the same words.
                if !reviewed.problems.contains(&problem) {
                    reviewed.problems.push(problem);
                }
                if !mend::mend(&mut document, &path, &what) {
                    break;
                }
            }
            Err(other) => {
                reviewed.problems.push(Problem::error("$", other.to_string()));
                break;
            }
        }
    }
    reviewed.problems.push(Problem::error("$", "the review ends here: mend the above and check again"));
    reviewed
}

/// Looks up a path as the runtime writes it.
fn lookup<'a>(value: &'a Value, path: &[document::Part]) -> Option<&'a Value> {
    path.iter().try_fold(value, |at, part| match part {
        document::Part::Key(key) => at.get(key.as_str()),
        document::Part::Index(index) => at.get(index),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        review(text).problems.into_iter().map(|p| p.path).collect()
    }

    #[test]
    fn a_sound_configuration_has_no_problem() {
        let reviewed = review(r#"{"application": {"name": "a"}, "modules": []}"#);
        assert_eq!(reviewed.problems, []);
        assert!(reviewed.app.is_some());
    }

    #[test]
    fn every_problem_is_found_at_its_own_path() {
        let text = r#"{
            "application": {"name": 7, "metering": "steam", "max_modules": 2, "colour": "red",
                "hal_groups": ["temp", "radar", "camera", "sonar"], "events": {"A": 1, "B": 1, "C": 99}},
            "modules": [
                {"name": "one", "binary": "one.wasm", "policy": {"capabilities": ["CAMERA", "NOPE", "LOG", "NEITHER"],
                    "stack_size": 12, "step_intervall_us": 5, "event_subscribe": ["A", "C", "D"]}},
                "not a module",
                {"name": "one", "policy": {"capabilities": 3, "memory_pages_max": -1, "priority": 256,
                    "cpu_quota_us": true, "activation": "SOMETIMES"}}
            ]
        }"#;
        let mut found = paths(text);
        found.sort();
        let mut expected = [
            "$.application.colour",
            "$.application.events.B",
            "$.application.events.C",
            "$.application.hal_groups[1]",
            "$.application.hal_groups[3]",
            "$.application.metering",
            "$.application.name",
            "$.modules[0].policy.capabilities[1]",
            "$.modules[0].policy.capabilities[3]",
            "$.modules[0].policy.event_subscribe[2]",
            "$.modules[0].policy.stack_size",
            "$.modules[0].policy.step_intervall_us",
            "$.modules[1]",
            "$.modules[2]",
            "$.modules[2].name",
            "$.modules[2].policy.activation",
            "$.modules[2].policy.capabilities",
            "$.modules[2].policy.cpu_quota_us",
            "$.modules[2].policy.memory_pages_max",
            "$.modules[2].policy.priority",
        ];
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_could_be_mended_is_there_under_its_own_path() {
        let reviewed = review(
            r#"{"application": {"name": "a"}, "modules": [5,
                {"name": "m", "binary": "m.wasm", "policy": {"stack_size": 4096, "x": 1}}]}"#,
        );
        let app = reviewed.app.unwrap();
        assert_eq!(app.modules.len(), 1);
        assert_eq!(app.modules[0].policy.stack_size, 4096);
        assert_eq!(reviewed.paths, ["$.modules[1]"]);
    }

    #[test]
    fn keys_that_are_there_twice_are_found_wherever_they_are() {
        let found = paths(
            r#"{"application": {"name": "a", "name": "b"}, "modules": [
                {"name": "m", "binary": "m", "policy": {"stack_size": 4096, "stack_size": 8192}}]}"#,
        );
        assert_eq!(found, ["$.application.name", "$.modules[0].policy.stack_size"]);
    }

    #[test]
    fn quotas_that_the_metering_cannot_enforce_and_too_many_modules() {
        let found = paths(
            r#"{"application": {"name": "a", "metering": "fuel", "max_modules": 1}, "modules": [
                {"name": "m", "binary": "m", "policy": {"cpu_quota_us": 1}},
                {"name": "n", "binary": "n", "policy": {"cpu_quota_us": 1}}]}"#,
        );
        assert_eq!(
            found,
            ["$.modules", "$.modules[0].policy.cpu_quota_us", "$.modules[1].policy.cpu_quota_us"]
        );
    }

    #[test]
    fn groups_that_clash_do_not_hide_what_follows() {
        let found = paths(
            r#"{"application": {"name": "a", "custom_groups": [
                    {"name": "x", "bit": 8, "functions": []}, {"name": "y", "bit": 8, "functions": []},
                    {"name": "z", "bit": 3, "functions": []}]},
                "modules": [{"name": "m", "binary": "m", "policy": {"capabilities": ["x", "y", "z", "w"]}}]}"#,
        );
        assert_eq!(
            found,
            [
                "$.modules[0].policy.capabilities[3]",
                "$.application.custom_groups[1]",
                "$.application.custom_groups[2]"
            ]
        );
    }

    #[test]
    fn text_that_is_no_json_is_one_problem_with_its_place() {
        let problems = review("{\n \"application\": }").problems;
        assert_eq!(problems.len(), 1);
        assert!(problems[0].what.contains("line 2"), "{}", problems[0].what);
        assert_eq!(paths("[]").first().map(String::as_str), Some("$"));
    }

    /// A sound configuration with most of what one can hold.
    fn sound() -> Value {
        serde_json::json!({
            "application": {
                "name": "a", "description": "d", "max_modules": 3, "memory_pool_bytes": 0, "log_pool_bytes": 4096,
                "metering": "both", "hal_groups": ["temp", "camera"], "events": {"A": 1, "B": 2},
                "custom_groups": [
                    {"name": "g", "bit": 8, "functions": [{"name": "f", "params": ["i32", "in"], "results": ["i64"]}]},
                    {"name": "h", "bit": 9, "functions": []}
                ]
            },
            "modules": [
                {"name": "m", "binary": "m.wasm", "policy": {"capabilities": ["CAMERA", "g"], "memory_pages_max": 2,
                    "stack_size": 8192, "activation_mask": ["EVENT"], "event_subscribe": ["A", "B"]}},
                {"name": "n", "binary": "n.wasm", "policy": {"capabilities": 1, "fuel_quota": 9, "priority": 7}}
            ]
        })
    }

    /// All places of a document.
    fn places(value: &Value, at: &str, out: &mut Vec<String>) {
        out.push(at.into());
        match value {
            Value::Object(map) => map.iter().for_each(|(key, v)| places(v, &format!("{at}/{key}"), out)),
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(i, v)| places(v, &format!("{at}/{i}"), out))
            }
            _ => {}
        }
    }

    fn wrong() -> impl proptest::strategy::Strategy<Value = Value> {
        let values = [
            Value::Null,
            true.into(),
            (-1).into(),
            0.into(),
            8.into(),
            40.into(),
            99_999_999_999u64.into(),
            1.5.into(),
            "".into(),
            "a".into(),
            "g".into(),
            "m".into(),
            "CAMERA".into(),
            "timer".into(),
            "temp_get_reading".into(),
            Value::Array(vec!["x".into(), 3.into()]),
            serde_json::json!({}),
            serde_json::json!({"name": "g", "bit": 8}),
            "\u{7}".into(),
            "x".repeat(70).into(),
        ];
        proptest::sample::select(values.to_vec())
    }

    proptest::proptest! {
        /// Whatever is wrong, and however much: the review ends, and finds a problem exactly when the runtime does.
        #[test]
        fn a_review_agrees_with_the_runtime(
            changes in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), wrong()), 0..6),
        ) {
            let mut config = sound();
            for (index, value) in changes {
                let mut all = Vec::new();
                places(&config, "", &mut all);
                if let Some(place) = config.pointer_mut(index.get(&all).as_str()) {
                    *place = value;
                }
            }
            let text = config.to_string();
            let reviewed = review(&text);
            proptest::prop_assert_eq!(reviewed.problems.is_empty(), AppConfig::from_json(&text).is_ok());
            // It goes on to the end, unless there is nothing to go on with.
            proptest::prop_assert_eq!(reviewed.app.is_some(), config.is_object(), "{:#?}", reviewed.problems);
            proptest::prop_assert!(reviewed.problems.len() < 60, "{:#?}", reviewed.problems);
            let all: std::collections::BTreeSet<_> = reviewed.problems.iter().map(|p| (&p.path, &p.what)).collect();
            proptest::prop_assert_eq!(all.len(), reviewed.problems.len(), "{:#?}", reviewed.problems);
        }
    }
}
