//! The services of a manifest: containers that run beside the workload, where the image has podman.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::request::EnvValue;
use crate::Problem;

/// Where the variables of a service are in the guest: this directory, and the name of the service with `.env`.
const ENV_DIR: &str = "/fuse/services";

/// A service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Service {
    image: String,
    ports: Vec<Port>,
    command: Words,
    restart: String,
    healthcheck: Option<Check>,
    depends_on: Vec<String>,
    pub(super) env: BTreeMap<String, EnvValue>,
}

/// A port, as a number or as text.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u16),
    Text(String),
}

impl Port {
    fn number(&self) -> Option<u16> {
        let number = match self {
            Self::Number(number) => *number,
            Self::Text(text) => text.parse().ok()?,
        };
        (number > 0).then_some(number)
    }
}

/// A command, as a list or as one text that is split at spaces.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(untagged)]
enum Words {
    #[default]
    None,
    List(Vec<String>),
    Text(String),
}

impl Words {
    fn list(&self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::List(words) => words.clone(),
            Self::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Check {
    test: Words,
    interval: String,
    timeout: String,
    retries: u32,
}

impl Check {
    /// The command as podman takes it: a JSON list whose first word says how the rest is run.
    fn test(&self) -> Option<Vec<String>> {
        match &self.test {
            Words::Text(line) => Some(vec!["CMD-SHELL".to_owned(), line.clone()]),
            words => Some(words.list()).filter(|words| words.len() > 1),
        }
    }
}

pub(crate) type Services = BTreeMap<String, Service>;

/// Adds to `problems` what is wrong with the services.
pub(crate) fn check(services: &Services, problems: &mut Vec<Problem>) {
    let mut wrong = |name: &str, text: String| {
        problems.push(Problem::new(format!("manifest_inline.services.{name}"), text));
    };
    for (name, service) in services {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        if name.is_empty() || name.len() > 63 || !name.bytes().all(plain) {
            wrong(name, "a name is 1 to 63 of A-Z a-z 0-9 - _".to_owned());
        }
        if service.image.is_empty() || service.image.starts_with('-') {
            wrong(name, "needs an image".to_owned());
        }
        if service.ports.iter().any(|port| port.number().is_none()) {
            wrong(name, "a port is a number from 1 to 65535".to_owned());
        }
        if !matches!(&*service.restart, "" | "no" | "always" | "on-failure" | "unless-stopped") {
            wrong(
                name,
                format!("restart {:?} is none of no, always, on-failure, unless-stopped", service.restart),
            );
        }
        for other in service.depends_on.iter().filter(|other| !services.contains_key(*other)) {
            wrong(name, format!("depends on {other:?}, which is not there"));
        }
    }
    if problems.is_empty() && order(services).len() < services.len() {
        problems.push(Problem::new("manifest_inline.services", "depend on each other in a circle"));
    }
}

/// The services in an order in which each comes after those that it depends on; those of a circle are left out.
fn order(services: &Services) -> Vec<&str> {
    let (mut done, mut ordered) = (BTreeSet::new(), Vec::new());
    loop {
        let ready: Vec<&str> = services
            .iter()
            .filter(|(name, service)| {
                !done.contains(name.as_str())
                    && service.depends_on.iter().all(|other| done.contains(other.as_str()))
            })
            .map(|(name, _)| name.as_str())
            .collect();
        if ready.is_empty() {
            return ordered;
        }
        done.extend(ready.iter().copied());
        ordered.extend(ready);
    }
}

fn value<'a>(value: &'a EnvValue, secrets: &'a BTreeMap<String, SecretString>) -> &'a str {
    let secret = value.secret.as_ref().and_then(|name| secrets.get(name));
    secret.map_or_else(|| value.value.as_deref().unwrap_or_default(), |secret| secret.expose_secret())
}

/// The compose file, for agents that run it themselves: JSON, which YAML is a superset of.
pub(crate) fn compose(services: &Services, secrets: &BTreeMap<String, SecretString>) -> String {
    // A dollar would begin a variable.
    let literal = |text: &str| text.replace('$', "$$");
    let of = |service: &Service| {
        let mut map = Map::new();
        let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
        put("image", json!(literal(&service.image)));
        let ports: Vec<String> =
            service.ports.iter().filter_map(Port::number).map(|p| format!("{p}:{p}")).collect();
        if !ports.is_empty() {
            put("ports", json!(ports));
        }
        let words: Vec<String> = service.command.list().iter().map(|word| literal(word)).collect();
        if !words.is_empty() {
            put("command", json!(words));
        }
        if !service.restart.is_empty() {
            put("restart", json!(service.restart));
        }
        if !service.depends_on.is_empty() {
            put("depends_on", json!(service.depends_on));
        }
        if let Some(check) = &service.healthcheck
            && let Some(test) = check.test()
        {
            let test: Vec<String> = test.iter().map(|word| literal(word)).collect();
            let mut told = Map::from_iter([("test".to_owned(), json!(test))]);
            for (name, text) in [("interval", &check.interval), ("timeout", &check.timeout)] {
                if !text.is_empty() {
                    told.insert(name.to_owned(), json!(text));
                }
            }
            if check.retries > 0 {
                told.insert("retries".to_owned(), json!(check.retries));
            }
            put("healthcheck", Value::Object(told));
        }
        if !service.env.is_empty() {
            let env = service.env.iter().map(|(name, v)| (name.clone(), json!(literal(value(v, secrets)))));
            put("environment", Value::Object(env.collect()));
        }
        Value::Object(map)
    };
    let all: Map<String, Value> =
        services.iter().map(|(name, service)| (name.clone(), of(service))).collect();
    json!({ "services": all }).to_string()
}

/// The files that hold the variables of the services, by path: one `NAME=value` a line. Line ends in a value become
/// spaces, since such a file has no way to say them.
pub(crate) fn env_files(
    services: &Services,
    secrets: &BTreeMap<String, SecretString>,
) -> Vec<(String, String)> {
    let with_env = services.iter().filter(|(_, service)| !service.env.is_empty());
    with_env
        .map(|(name, service)| {
            let line = |(name, v): (&String, &EnvValue)| {
                format!("{name}={}\n", value(v, secrets).replace(['\r', '\n'], " "))
            };
            (format!("{ENV_DIR}/{name}.env"), service.env.iter().map(line).collect())
        })
        .collect()
}

/// The commands that start the services with podman, in order. They hold no values of variables. The services share the
/// network of the guest and find each other by name.
pub(crate) fn podman(services: &Services) -> String {
    let hosts: Vec<String> = services.keys().map(|name| format!("--add-host={name}:127.0.0.1")).collect();
    let run = |name: &str| {
        let Some(service) = services.get(name) else { return String::new() };
        let mut words: Vec<String> =
            ["podman", "run", "--detach", "--replace", "--network=host"].map(str::to_owned).to_vec();
        words.push(format!("--name=fuse-{name}"));
        words.extend(hosts.iter().cloned());
        if !service.env.is_empty() {
            words.push(format!("--env-file={ENV_DIR}/{name}.env"));
        }
        if !service.restart.is_empty() {
            words.push(format!("--restart={}", service.restart));
        }
        if let Some(check) = &service.healthcheck
            && let Some(test) = check.test()
        {
            words.push(format!("--health-cmd={}", json!(test)));
            for (flag, text) in [("interval", &check.interval), ("timeout", &check.timeout)] {
                if !text.is_empty() {
                    words.push(format!("--health-{flag}={text}"));
                }
            }
            if check.retries > 0 {
                words.push(format!("--health-retries={}", check.retries));
            }
        }
        words.push(service.image.clone());
        words.extend(service.command.list());
        words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
    };
    order(services).into_iter().map(run).collect::<Vec<_>>().join(" && ")
}

fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_=./:@,+".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"{
        "web":{"image":"docker.io/web:1","ports":[80,"8080"],"command":["serve","it's $HOME"],"depends_on":["db"],
            "env":{"PASSWORD":{"secret":"pw"},"PLAIN":{"value":"a b"}}},
        "db":{"image":"db","restart":"always","command":"run  --fast",
            "healthcheck":{"test":["CMD","ping"],"interval":"5s","retries":2}}
    }"#;

    fn secrets() -> BTreeMap<String, SecretString> {
        BTreeMap::from([("pw".to_owned(), SecretString::from("pa$$\nword"))])
    }

    fn problems(text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        check(&serde_json::from_str(text).unwrap(), &mut problems);
        problems.into_iter().map(|problem| problem.to_string()).collect()
    }

    #[test]
    fn services_start_after_those_they_depend_on_and_no_secret_is_on_the_command_line() {
        let services: Services = serde_json::from_str(TWO).unwrap();
        assert_eq!(problems(TWO), Vec::<String>::new());
        let script = podman(&services);
        let (db, web) = script.split_once(" && ").unwrap();
        assert!(db.ends_with(r#"--restart=always '--health-cmd=["CMD","ping"]' --health-interval=5s --health-retries=2 db run --fast"#), "{db}");
        assert!(
            web.ends_with(r"--env-file=/fuse/services/web.env docker.io/web:1 serve 'it'\''s $HOME'"),
            "{web}"
        );
        assert!(!script.contains("pa$$"), "{script}");
        let files = env_files(&services, &secrets());
        assert_eq!(
            files,
            [("/fuse/services/web.env".to_owned(), "PASSWORD=pa$$ word\nPLAIN=a b\n".to_owned())]
        );
    }

    #[test]
    fn the_compose_file_means_the_same() {
        let services: Services = serde_json::from_str(TWO).unwrap();
        let read: Value = serde_json::from_str(&compose(&services, &secrets())).unwrap();
        let web = &read["services"]["web"];
        assert_eq!(web["ports"], json!(["80:80", "8080:8080"]));
        assert_eq!(web["command"], json!(["serve", "it's $$HOME"]));
        assert_eq!(web["environment"]["PASSWORD"], json!("pa$$$$\nword"));
        assert_eq!(read["services"]["db"]["healthcheck"]["test"], json!(["CMD", "ping"]));
    }

    #[test]
    fn what_cannot_run_is_told_before_anything_is_made() {
        for (text, why) in [
            (r#"{"a":{}}"#, "image"),
            (r#"{"a":{"image":"--privileged"}}"#, "image"),
            (r#"{"a b":{"image":"x"}}"#, "name"),
            (r#"{"a":{"image":"x","ports":[0]}}"#, "port"),
            (r#"{"a":{"image":"x","ports":["80:90"]}}"#, "port"),
            (r#"{"a":{"image":"x","restart":"perhaps"}}"#, "restart"),
            (r#"{"a":{"image":"x","depends_on":["b"]}}"#, "not there"),
            (r#"{"a":{"image":"x","depends_on":["b"]},"b":{"image":"x","depends_on":["a"]}}"#, "circle"),
        ] {
            let found = problems(text);
            assert!(found.len() == 1 && found[0].contains(why), "{text}: {found:?}");
        }
    }
}
