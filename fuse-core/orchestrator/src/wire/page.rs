//! The query parts of lists.

use serde::{Deserialize, Serialize};

use super::{checked, optional_name, problem};
use crate::{
    Result,
    model::{Arch, EnvironmentFilter, EnvironmentState, SnapshotFilter, SnapshotMode, SnapshotState},
};

/// The limit that a caller gave: none when it is not a number above 0, which means the default of 50. Lists cut it to
/// 200 themselves.
#[must_use]
pub fn page_limit(text: &str) -> Option<usize> {
    text.trim().parse().ok().filter(|limit| *limit > 0)
}

macro_rules! page_access {
    () => {
        /// How many entries were asked for; none: the default.
        #[must_use]
        pub fn page_limit(&self) -> Option<usize> {
            self.limit.as_deref().and_then(page_limit)
        }

        /// Where the page begins; none: at the start.
        #[must_use]
        pub fn page_cursor(&self) -> Option<&str> {
            self.cursor.as_deref().filter(|cursor| !cursor.is_empty())
        }
    };
}

/// Query of a list that has no filters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct PageQuery {
    /// How many entries, 1 to 200; 50 when nothing or nonsense is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Where the page begins: the `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl PageQuery {
    page_access!();
}

/// Query of GET /v1/environments. An empty value is no filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct EnvironmentQuery {
    /// Only this task.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub task_id: String,
    /// Only this state; shows ended ones when it is `failed` or `destroyed`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Only this host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host_id: String,
    /// How many entries, 1 to 200; 50 when nothing or nonsense is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Where the page begins: the `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl EnvironmentQuery {
    page_access!();

    /// The query for a filter.
    #[must_use]
    pub fn new(filter: &EnvironmentFilter, limit: Option<usize>, cursor: Option<&str>) -> Self {
        Self {
            task_id: filter.task_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            state: filter.state.map(|state| state.as_str().to_owned()).unwrap_or_default(),
            host_id: filter.host_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            limit: limit.map(|limit| limit.to_string()),
            cursor: cursor.map(ToOwned::to_owned),
        }
    }

    /// The filter.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) with every part that cannot be.
    pub fn filter(&self) -> Result<EnvironmentFilter> {
        let mut problems = Vec::new();
        let state =
            one_of("state", &self.state, &EnvironmentState::ALL, EnvironmentState::as_str, &mut problems);
        let filter = EnvironmentFilter {
            task_id: optional_name("task_id", &self.task_id, &mut problems),
            state,
            host_id: optional_name("host_id", &self.host_id, &mut problems),
        };
        checked(filter, problems)
    }
}

/// Query of GET /v1/snapshots. An empty value is no filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct SnapshotQuery {
    /// Only of this environment.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vm_id: String,
    /// Only of this task.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub task_id: String,
    /// Only of this tenant. There are no tenants: a value other than the empty one finds nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tenant_id: String,
    /// Only in this state.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Only of this mode.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode: String,
    /// Only those whose metadata has this `name`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Only of this layer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub layer_key: String,
    /// Only of this architecture.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub arch: String,
    /// How many entries, 1 to 200; 50 when nothing or nonsense is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Where the page begins: the `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl SnapshotQuery {
    page_access!();

    /// The query for a filter.
    #[must_use]
    pub fn new(filter: &SnapshotFilter, limit: Option<usize>, cursor: Option<&str>) -> Self {
        let text = |id: Option<&dyn std::fmt::Display>| id.map(ToString::to_string).unwrap_or_default();
        Self {
            vm_id: text(filter.environment_id.as_ref().map(|id| id as _)),
            task_id: text(filter.task_id.as_ref().map(|id| id as _)),
            tenant_id: String::new(),
            state: text(filter.state.as_ref().map(|state| state as _)),
            mode: filter.mode.map(|mode| mode.as_str().to_owned()).unwrap_or_default(),
            name: filter.name.clone().unwrap_or_default(),
            layer_key: filter.layer_key.clone().unwrap_or_default(),
            arch: text(filter.arch.as_ref().map(|arch| arch as _)),
            limit: limit.map(|limit| limit.to_string()),
            cursor: cursor.map(ToOwned::to_owned),
        }
    }

    /// The filter.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) with every part that cannot be.
    pub fn filter(&self) -> Result<SnapshotFilter> {
        let mut problems = Vec::new();
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let state = one_of("state", &self.state, &SnapshotState::ALL, SnapshotState::as_str, &mut problems);
        let mode = one_of("mode", &self.mode, &SnapshotMode::ALL, SnapshotMode::as_str, &mut problems);
        let filter = SnapshotFilter {
            environment_id: optional_name("vm_id", &self.vm_id, &mut problems),
            task_id: optional_name("task_id", &self.task_id, &mut problems),
            state,
            mode,
            name: text(&self.name),
            arch: arch("arch", &self.arch, &mut problems),
            layer_key: text(&self.layer_key),
        };
        checked(filter, problems)
    }
}

/// An architecture by either of its names; none for an empty text.
pub(super) fn arch(field: &str, text: &str, problems: &mut Vec<crate::Problem>) -> Option<Arch> {
    if text.is_empty() {
        return None;
    }
    text.parse().map_err(|error: String| problem(problems, field, error)).ok()
}

/// The value that has this name; none for an empty text.
pub(super) fn one_of<T: Copy>(
    field: &str,
    text: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
    problems: &mut Vec<crate::Problem>,
) -> Option<T> {
    if text.is_empty() {
        return None;
    }
    let found = all.iter().copied().find(|value| name(*value) == text);
    if found.is_none() {
        let names = all.iter().map(|value| name(*value)).collect::<Vec<_>>().join(", ");
        problem(problems, field, format!("{text:?} is not one of {names}"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_limits_mean_the_default() {
        for (text, limit) in
            [("", None), ("0", None), ("-3", None), ("x", None), ("7", Some(7)), ("999", Some(999))]
        {
            assert_eq!(page_limit(text), limit, "{text:?}");
        }
    }

    #[test]
    fn filters_round_trip() {
        let filter = EnvironmentFilter {
            task_id: Some(crate::model::TaskId::new("t 1").unwrap()),
            state: Some(EnvironmentState::Destroyed),
            host_id: None,
        };
        assert_eq!(EnvironmentQuery::new(&filter, Some(3), None).filter().unwrap(), filter);
        let filter = SnapshotFilter {
            state: Some(SnapshotState::Ready),
            mode: Some(SnapshotMode::Auto),
            arch: Some(Arch::Arm64),
            name: Some("n".into()),
            ..SnapshotFilter::default()
        };
        assert_eq!(SnapshotQuery::new(&filter, None, None).filter().unwrap(), filter);
    }

    #[test]
    fn unknown_states_are_told_with_what_there_is() {
        let query = EnvironmentQuery { state: "asleep".into(), host_id: "../x".into(), ..Default::default() };
        let text = query.filter().unwrap_err().to_string();
        assert!(text.contains("\"asleep\" is not one of provisioning") && text.contains("host_id"), "{text}");
    }
}
