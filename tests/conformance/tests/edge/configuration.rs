//! Configurations and policies in each of their forms say the same.

use fuse_edge::hal::{FunctionDecl, GroupDecl, Param, ValueType};
use fuse_edge::{
    Activation, AppConfig, Application, Capabilities, EventId, EventMask, Metering, ModuleDecl, POLICY_BYTES,
    Policy, STACK_BYTES_MIN,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn policies(metering: Metering) -> impl Strategy<Value = Policy> {
    let masks = (0..32u32, 1..8u32, any::<u32>());
    let sizes = (0..=65_536u32, STACK_BYTES_MIN..=u32::MAX, any::<u32>());
    let times = (any::<u32>(), any::<u32>(), any::<u64>(), any::<u8>());
    (masks, sizes, times).prop_map(
        move |((caps, activation, events), (pages, stack, heap), (quota, interval, fuel, priority))| Policy {
            capabilities: Capabilities::from_bits(caps),
            memory_pages_max: pages,
            stack_size: stack,
            heap_size: heap,
            cpu_quota_us: if metering.has_wall() { quota } else { 0 },
            step_interval_us: interval,
            activation: Activation::from_bits(activation).unwrap(),
            event_subscribe: EventMask::from_bits(events),
            fuel_quota: if metering.has_fuel() { fuel } else { 0 },
            priority,
        },
    )
}

fn params() -> impl Strategy<Value = Param> {
    proptest::sample::select(
        ["i32", "i64", "f32", "f64", "in", "out", "inout"].map(|n| Param::from_name(n).unwrap()).to_vec(),
    )
}

fn functions(prefix: String) -> impl Strategy<Value = Vec<FunctionDecl>> {
    let result = proptest::option::of(proptest::sample::select(vec![
        ValueType::I32,
        ValueType::I64,
        ValueType::F32,
        ValueType::F64,
    ]));
    proptest::collection::vec((proptest::collection::vec(params(), 0..16), result), 0..3).prop_map(
        move |list| {
            let named =
                |(i, (params, result))| FunctionDecl { name: format!("{prefix}_{i}"), params, result };
            list.into_iter().enumerate().map(named).collect()
        },
    )
}

fn groups() -> impl Strategy<Value = Vec<GroupDecl>> {
    let group = |i: u8| {
        functions(format!("f{i}")).prop_map(move |functions| GroupDecl {
            name: format!("group{i}"),
            bit: 8 + i,
            functions,
        })
    };
    (group(0), group(1), group(2), 0..4usize)
        .prop_map(|(a, b, c, count)| [a, b, c].into_iter().take(count).collect())
}

fn applications() -> impl Strategy<Value = Application> {
    let names = ("[a-zé ]{0,20}", ".{0,30}");
    let limits = (8..1000u32, any::<u64>(), 0..=1u64 << 30);
    let metering = proptest::sample::select(Metering::ALL.to_vec());
    (names, limits, metering, groups(), 0..32u32).prop_map(
        |((name, description), (max_modules, pool, log), metering, custom_groups, events)| Application {
            name,
            description,
            max_modules,
            memory_pool_bytes: pool,
            log_pool_bytes: log,
            metering,
            custom_groups,
            events: (0..events).map(|id| (format!("EVENT_{id}"), EventId::new(id).unwrap())).collect(),
            ..Application::default()
        },
    )
}

fn configurations() -> impl Strategy<Value = AppConfig> {
    applications().prop_flat_map(|application| {
        let module = (policies(application.metering), proptest::option::of(any::<Vec<u8>>()));
        proptest::collection::vec(module, 0..6).prop_map(move |list| {
            let modules = list.into_iter().enumerate().map(|(i, (policy, artifact))| ModuleDecl {
                name: format!("module-{i}"),
                binary: format!("bin/{i}.fuse"),
                policy,
                artifact,
            });
            AppConfig { application: application.clone(), modules: modules.collect() }
        })
    })
}

/// The JSON that a person would write for it.
fn to_json(app: &AppConfig) -> Value {
    let function = |f: &FunctionDecl| {
        json!({"name": f.name, "params": f.params.iter().map(|p| p.name()).collect::<Vec<_>>(),
            "results": f.result.iter().map(|r| r.name()).collect::<Vec<_>>()})
    };
    let group = |g: &GroupDecl| json!({"name": g.name, "bit": g.bit, "functions": g.functions.iter().map(function).collect::<Vec<_>>()});
    let a = &app.application;
    let events: serde_json::Map<String, Value> =
        a.events.iter().map(|(n, id)| (n.clone(), id.get().into())).collect();
    let module =
        |m: &ModuleDecl| json!({"name": m.name, "binary": m.binary, "policy": policy_json(&m.policy)});
    json!({"application": {"name": a.name, "description": a.description, "max_modules": a.max_modules,
            "memory_pool_bytes": a.memory_pool_bytes, "log_pool_bytes": a.log_pool_bytes, "metering": a.metering.name(),
            "custom_groups": a.custom_groups.iter().map(group).collect::<Vec<_>>(), "events": events},
        "modules": app.modules.iter().map(module).collect::<Vec<_>>()})
}

fn policy_json(p: &Policy) -> Value {
    json!({"capabilities": p.capabilities.bits(), "memory_pages_max": p.memory_pages_max, "stack_size": p.stack_size,
        "heap_size": p.heap_size, "cpu_quota_us": p.cpu_quota_us, "step_interval_us": p.step_interval_us,
        "activation_mask": p.activation.bits(), "event_subscribe": p.event_subscribe.bits(),
        "fuel_quota": p.fuel_quota, "priority": p.priority})
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn policies_are_the_same_in_each_form(policy in policies(Metering::Both)) {
        prop_assert_eq!(&Policy::from_json(&policy_json(&policy).to_string()).unwrap(), &policy);
        let known_to_bytes = Policy { fuel_quota: 0, priority: fuse_edge::DEFAULT_PRIORITY, ..policy.clone() };
        prop_assert_eq!(Policy::from_bytes(&policy.to_bytes()).unwrap(), known_to_bytes);
    }

    #[test]
    fn any_bytes_are_a_policy_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        match Policy::from_bytes(&bytes) {
            Ok(policy) => {
                prop_assert_eq!(bytes.len(), POLICY_BYTES);
                // Activation 0 reads as INTERVAL and is written so.
                let mut expected = bytes;
                if expected[24..28] == [0; 4] {
                    expected[24] = 1;
                }
                prop_assert_eq!(policy.to_bytes().to_vec(), expected);
            }
            Err(e) => prop_assert_eq!(e.kind(), fuse_edge::ErrorKind::InvalidArg),
        }
    }

    #[test]
    fn applications_round_trip_through_the_binary_form(app in configurations()) {
        let bytes = app.to_binary().unwrap();
        prop_assert_eq!(AppConfig::from_binary(&bytes).unwrap(), app);
    }

    #[test]
    fn applications_read_from_json_as_they_are(app in configurations()) {
        let mut expected = app.clone();
        expected.modules.iter_mut().for_each(|m| m.artifact = None);
        // JSON objects have no order that this crate's parser of tests keeps.
        expected.application.events.sort();
        let mut read = AppConfig::from_json(&to_json(&app).to_string()).unwrap();
        read.application.events.sort();
        prop_assert_eq!(read, expected);
    }

    /// A number of the wrong sign, type or size anywhere in a policy is refused with its path.
    #[test]
    fn each_field_of_a_policy_is_checked(policy in policies(Metering::Both), field in 0..10usize, kind in 0..5usize) {
        let mut json = policy_json(&policy);
        let key = json.as_object().unwrap().keys().nth(field).unwrap().clone();
        json[&key] = match kind {
            0 => json!(-1),
            1 => json!(true),
            2 => json!(1.5),
            3 => Value::Null,
            _ => json!(18_446_744_073_709_551_616.0),
        };
        let error = Policy::from_json(&json.to_string()).unwrap_err().to_string();
        prop_assert!(error.contains(&format!("$.{key}")), "{}", error);
    }

    /// A misspelt key anywhere is refused by name.
    #[test]
    fn each_key_of_a_policy_is_checked(policy in policies(Metering::Both), field in 0..10usize) {
        let mut json = policy_json(&policy);
        let fields = json.as_object_mut().unwrap();
        let key = fields.keys().nth(field).unwrap().clone();
        let value = fields.remove(&key).unwrap();
        fields.insert(format!("{key}s"), value);
        let error = Policy::from_json(&json.to_string()).unwrap_err().to_string();
        prop_assert!(error.contains(&format!("{key}s")), "{}", error);
    }
}
