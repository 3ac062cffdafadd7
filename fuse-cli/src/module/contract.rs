//! The contract between a module and the runtime: what it must export, and what it may import.

use fuse_edge::Application;
use fuse_edge::hal::{Capabilities, FunctionDecl, Param};
use serde::Serialize;

use crate::wasm::{ENTRIES, Extern, Import, Signature, WasmModule};

/// What an application makes of one import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "status")]
pub(crate) enum Resolution {
    /// The application provides it.
    Provided {
        #[serde(skip)]
        bit: Capabilities,
        capability: String,
        group: String,
    },
    /// It exists, but not with this type.
    WrongType { capability: String, expected: Signature },
    /// It is built in, and the application did not enable its group.
    Disabled { capability: String, group: String },
    /// Nothing of this name is known.
    Unknown,
}

impl Resolution {
    /// The capability that a call needs, where it is known.
    pub(crate) fn capability(&self) -> Option<&str> {
        match self {
            Self::Provided { capability, .. }
            | Self::WrongType { capability, .. }
            | Self::Disabled { capability, .. } => Some(capability),
            Self::Unknown => None,
        }
    }
}

/// The functions that the runtime itself provides, with their wasm types.
const BUILT_IN: [(&str, Capabilities, &[&str], &[&str]); 5] = [
    ("temp_get_reading", Capabilities::TEMP_SENSOR, &[], &["f32"]),
    ("timer_get_timestamp", Capabilities::TIMER, &[], &["i64"]),
    ("camera_last_frame", Capabilities::CAMERA, &["i32", "i32"], &["i64"]),
    ("module_log_event", Capabilities::LOG, &["i32", "i32", "i32"], &[]),
    ("fuse_event_post", Capabilities::EVENT_POST, &["i32"], &[]),
];

/// The wasm type of a function of a host group: a buffer is pointer and length.
fn signature(function: &FunctionDecl) -> Signature {
    let mut params = Vec::new();
    for param in &function.params {
        match param {
            Param::Value(ty) => params.push(ty.name()),
            Param::In | Param::Out | Param::InOut => params.extend(["i32", "i32"]),
        }
    }
    Signature::new(&params, function.result.map(|r| r.name()).as_slice())
}

/// What the application makes of an import.
pub(crate) fn resolve(import: &Import, application: &Application) -> Resolution {
    if import.module != "env" {
        return Resolution::Unknown;
    }
    let built_in =
        BUILT_IN.iter().find(|(name, ..)| *name == import.name).map(|(_, bit, params, results)| {
            let names = Capabilities::BUILT_IN.iter().find(|(_, _, b)| b == bit);
            let (capability, group) = names.map_or(("", ""), |(capability, group, _)| (*capability, *group));
            (*bit, capability.to_owned(), group.to_owned(), Signature::new(params, results))
        });
    let custom = || {
        application.custom_groups.iter().find_map(|group| {
            let function = group.functions.iter().find(|f| f.name == import.name)?;
            Some((group.capability(), group.name.clone(), group.name.clone(), signature(function)))
        })
    };
    let Some((bit, capability, group, expected)) = built_in.or_else(custom) else {
        return Resolution::Unknown;
    };
    if import.ty != Extern::Function(expected.clone()) {
        return Resolution::WrongType { capability, expected };
    }
    if !application.capabilities().contains(bit) {
        return Resolution::Disabled { capability, group };
    }
    Resolution::Provided { bit, capability, group }
}

/// Whether a function that an import asks for takes a pointer into the module's memory.
pub(crate) fn takes_pointer(import: &Import, application: &Application) -> bool {
    let custom = application.custom_groups.iter().flat_map(|g| &g.functions).find(|f| f.name == import.name);
    match custom {
        Some(function) => function.params.iter().any(|p| !matches!(p, Param::Value(_))),
        None => matches!(import.name.as_str(), "camera_last_frame" | "module_log_event"),
    }
}

/// What makes the runtime refuse the module, whatever the application: one sentence each.
pub(crate) fn violations(module: &WasmModule) -> Vec<String> {
    let mut found = Vec::new();
    for name in ENTRIES {
        match module.export(name) {
            Some(Extern::Function(ty)) if *ty == Signature::default() => {}
            Some(Extern::Function(ty)) => {
                found.push(format!("`{name}` has type {ty}; it must be {}", Signature::default()))
            }
            Some(_) => found.push(format!("the export `{name}` is not a function")),
            None if name == "module_step" => {
                found.push("it does not export `module_step`, which the runtime calls".into());
            }
            None => {}
        }
    }
    if let Some(import) = module.imports.iter().find(|i| !matches!(i.ty, Extern::Function(_))) {
        found.push(format!(
            "it imports {}.{}, which is no function: {}",
            import.module, import.name, import.ty
        ));
    }
    if let Some(import) = module.imports.iter().find(|i| i.module != "env") {
        found.push(format!(
            "it imports {}.{}; the runtime provides imports from `env` only",
            import.module, import.name
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use fuse_edge::hal::{GroupDecl, ValueType};

    fn module(text: &str) -> WasmModule {
        WasmModule::parse(&wat::parse_str(text).unwrap()).unwrap()
    }

    fn resolutions(text: &str, application: &Application) -> Vec<Resolution> {
        module(text).imports.iter().map(|i| resolve(i, application)).collect()
    }

    #[test]
    fn built_in_imports_need_their_capability_type_and_group() {
        let text = r#"(module
            (import "env" "timer_get_timestamp" (func (result i64)))
            (import "env" "temp_get_reading" (func (result f64)))
            (import "env" "camera_last_frame" (func (param i32 i32) (result i64)))
            (import "env" "gpio_set" (func))
            (import "wasi" "timer_get_timestamp" (func (result i64))))"#;
        let application = Application {
            hal_groups: Capabilities::LOG
                | Capabilities::EVENT_POST
                | Capabilities::TIMER
                | Capabilities::TEMP_SENSOR,
            ..Application::default()
        };
        let found = resolutions(text, &application);
        assert!(matches!(&found[0], Resolution::Provided { capability, bit, .. }
            if capability == "TIMER" && *bit == Capabilities::TIMER));
        assert!(
            matches!(&found[1], Resolution::WrongType { expected, .. } if expected.to_string() == "() -> f32")
        );
        assert!(matches!(&found[2], Resolution::Disabled { group, .. } if group == "camera"));
        assert_eq!(found[3], Resolution::Unknown);
        assert_eq!(found[4], Resolution::Unknown);
    }

    #[test]
    fn host_groups_are_known_by_their_declaration() {
        let function = FunctionDecl {
            name: "downlink_write".into(),
            params: vec![Param::Value(ValueType::I64), Param::In],
            result: Some(ValueType::I32),
        };
        let group = GroupDecl { name: "downlink".into(), bit: 9, functions: vec![function] };
        let application = Application { custom_groups: vec![group], ..Application::default() };
        let found = resolutions(
            r#"(module (import "env" "downlink_write" (func (param i64 i32 i32) (result i32))))"#,
            &application,
        );
        assert!(matches!(&found[0], Resolution::Provided { capability, bit, .. }
            if capability == "downlink" && bit.bits() == 1 << 9));
    }

    #[test]
    fn every_breach_of_the_contract_is_listed() {
        let text = r#"(module (import "other" "f" (func)) (import "env" "g" (global i32))
            (func (export "module_init") (param i32)) (memory (export "module_deinit") 1))"#;
        let found = violations(&module(text)).join("\n");
        for part in [
            "module_step",
            "`module_init` has type (i32) -> ()",
            "`module_deinit` is not",
            "env.g",
            "other.f",
        ] {
            assert!(found.contains(part), "{part} in {found}");
        }
        assert_eq!(violations(&module(r#"(module (func (export "module_step")))"#)), Vec::<String>::new());
    }
}
