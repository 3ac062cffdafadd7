//! What can be read from a WebAssembly module without running it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::output::counted;
use serde::Serialize;
use wasmparser::{ExternalKind, FuncType, KnownCustom, Operator, Parser, Payload, TypeRef, ValType};

mod calls;
pub(crate) mod native;
pub(crate) use calls::{CallGraph, Function, Uncomputable};

/// The exports that the runtime calls.
pub(crate) const ENTRIES: [&str; 3] = ["module_step", "module_init", "module_deinit"];

/// A function type in the words of the text format: `(i32, i32) -> i64`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) params: Vec<String>,
    pub(crate) results: Vec<String>,
}

impl Signature {
    /// A signature of these types, named as in the text format.
    pub(crate) fn new(params: &[&str], results: &[&str]) -> Self {
        let own = |types: &[&str]| types.iter().map(|t| (*t).to_owned()).collect();
        Self { params: own(params), results: own(results) }
    }

    fn of(ty: &FuncType) -> Self {
        let names = |types: &[ValType]| types.iter().map(ToString::to_string).collect();
        Self { params: names(ty.params()), results: names(ty.results()) }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}) -> ", self.params.join(", "))?;
        match self.results.as_slice() {
            [one] => f.write_str(one),
            many => write!(f, "({})", many.join(", ")),
        }
    }
}

impl Serialize for Signature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The type of something imported or exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "type")]
pub(crate) enum Extern {
    Function(Signature),
    Memory(Memory),
    Table(String),
    Global(String),
    Tag(String),
}

impl fmt::Display for Extern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(signature) => signature.fmt(f),
            Self::Memory(memory) => write!(f, "memory, {memory}"),
            Self::Table(ty) => write!(f, "table of {ty}"),
            Self::Global(ty) => write!(f, "global {ty}"),
            Self::Tag(ty) => write!(f, "tag {ty}"),
        }
    }
}

/// A linear memory as the module declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    /// Pages of 64 KiB that it starts with.
    pub(crate) initial_pages: u64,
    /// Pages that it says it never exceeds.
    pub(crate) maximum_pages: Option<u64>,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&counted(self.initial_pages, "page"))?;
        self.maximum_pages.map_or(Ok(()), |max| write!(f, ", at most {max}"))
    }
}

/// One import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Import {
    pub(crate) module: String,
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) ty: Extern,
    /// Whether code that the runtime can enter may call it.
    pub(crate) reachable: bool,
}

/// One export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Export {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) ty: Extern,
}

/// A custom section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CustomSection {
    pub(crate) name: String,
    pub(crate) bytes: usize,
}

/// A validated module, taken apart.
#[derive(Debug, Default)]
pub(crate) struct WasmModule {
    pub(crate) imports: Vec<Import>,
    pub(crate) exports: Vec<Export>,
    pub(crate) memories: Vec<Memory>,
    pub(crate) custom_sections: Vec<CustomSection>,
    pub(crate) has_start: bool,
    pub(crate) calls: CallGraph,
}

impl WasmModule {
    /// Takes a binary module apart. The error says what is wrong with it, and where.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        wasmparser::validate(bytes).map_err(|e| format!("not a valid WebAssembly module: {e}"))?;
        let mut reader = Reader::default();
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(|e| e.to_string())?;
            if matches!(payload, Payload::Version { encoding: wasmparser::Encoding::Component, .. }) {
                return Err("it is a component; the runtime takes core modules".into());
            }
            reader.take(payload).map_err(|e| e.to_string())?;
        }
        Ok(reader.finish())
    }

    /// The export of this name.
    pub(crate) fn export(&self, name: &str) -> Option<&Extern> {
        self.exports.iter().find(|e| e.name == name).map(|e| &e.ty)
    }
}

/// Index spaces, as they fill while the sections are read.
#[derive(Default)]
struct Reader {
    module: WasmModule,
    types: Vec<FuncType>,
    /// Type of each function, the imported ones first.
    functions: Vec<u32>,
    memories: Vec<Memory>,
    tables: Vec<String>,
    globals: Vec<String>,
    imported: Vec<u32>,
    entries: BTreeMap<String, u32>,
    names: BTreeMap<u32, String>,
    /// Functions that a table or a reference may hold.
    referenced: BTreeSet<u32>,
    bodies: Vec<Function>,
}

fn memory(ty: &wasmparser::MemoryType) -> Memory {
    Memory { initial_pages: ty.initial, maximum_pages: ty.maximum }
}

impl Reader {
    fn take(&mut self, payload: Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::TypeSection(section) => {
                self.types = section.into_iter_err_on_gc_types().collect::<Result<_, _>>()?;
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    self.import(import?);
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section {
                    self.functions.push(ty?);
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    self.tables.push(table?.ty.element_type.to_string());
                }
            }
            Payload::MemorySection(section) => {
                for ty in section {
                    self.memories.push(memory(&ty?));
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    let global = global?;
                    self.globals.push(global.ty.content_type.to_string());
                    self.references(&global.init_expr)?;
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    self.export(export?);
                }
            }
            Payload::StartSection { func, .. } => {
                self.module.has_start = true;
                self.entries.insert("start function".into(), func);
            }
            Payload::ElementSection(section) => {
                for element in section {
                    self.element(element?.items)?;
                }
            }
            Payload::CodeSectionEntry(body) => self.body(&body)?,
            Payload::CustomSection(section) => {
                let name = section.name().to_owned();
                self.module.custom_sections.push(CustomSection { name, bytes: section.data().len() });
                if let KnownCustom::Name(names) = section.as_known() {
                    self.function_names(names);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, import: wasmparser::Import<'_>) {
        let ty = match import.ty {
            TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                self.functions.push(ty);
                self.imported.push(self.module.imports.len() as u32);
                Extern::Function(self.signature(ty))
            }
            TypeRef::Memory(ty) => {
                self.memories.push(memory(&ty));
                Extern::Memory(memory(&ty))
            }
            TypeRef::Table(ty) => {
                self.tables.push(ty.element_type.to_string());
                Extern::Table(ty.element_type.to_string())
            }
            TypeRef::Global(ty) => {
                self.globals.push(ty.content_type.to_string());
                Extern::Global(ty.content_type.to_string())
            }
            TypeRef::Tag(ty) => Extern::Tag(self.signature(ty.func_type_idx).to_string()),
        };
        let (module, name) = (import.module.to_owned(), import.name.to_owned());
        self.module.imports.push(Import { module, name, ty, reachable: false });
    }

    fn signature(&self, ty: u32) -> Signature {
        self.types.get(ty as usize).map(Signature::of).unwrap_or_default()
    }

    fn export(&mut self, export: wasmparser::Export<'_>) {
        let index = export.index as usize;
        let ty = match export.kind {
            ExternalKind::Func | ExternalKind::FuncExact => {
                self.entries.insert(export.name.into(), export.index);
                self.referenced.insert(export.index);
                Extern::Function(self.functions.get(index).map(|t| self.signature(*t)).unwrap_or_default())
            }
            ExternalKind::Memory => match self.memories.get(index) {
                Some(memory) => Extern::Memory(*memory),
                None => return,
            },
            ExternalKind::Table => Extern::Table(self.tables.get(index).cloned().unwrap_or_default()),
            ExternalKind::Global => Extern::Global(self.globals.get(index).cloned().unwrap_or_default()),
            ExternalKind::Tag => Extern::Tag(String::new()),
        };
        self.module.exports.push(Export { name: export.name.into(), ty });
    }

    fn references(&mut self, expression: &wasmparser::ConstExpr<'_>) -> wasmparser::Result<()> {
        for operator in expression.get_operators_reader() {
            if let Operator::RefFunc { function_index } = operator? {
                self.referenced.insert(function_index);
            }
        }
        Ok(())
    }

    fn element(&mut self, items: wasmparser::ElementItems<'_>) -> wasmparser::Result<()> {
        match items {
            wasmparser::ElementItems::Functions(functions) => {
                for function in functions {
                    self.referenced.insert(function?);
                }
            }
            wasmparser::ElementItems::Expressions(_, expressions) => {
                for expression in expressions {
                    self.references(&expression?)?;
                }
            }
        }
        Ok(())
    }

    fn body(&mut self, body: &wasmparser::FunctionBody<'_>) -> wasmparser::Result<()> {
        let mut function = Function::default();
        for operator in body.get_operators_reader()? {
            let operator = operator?;
            function.tail_calls |= matches!(
                operator,
                Operator::ReturnCall { .. }
                    | Operator::ReturnCallIndirect { .. }
                    | Operator::ReturnCallRef { .. }
            );
            match operator {
                Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                    function.calls.insert(function_index);
                }
                Operator::CallIndirect { type_index, .. }
                | Operator::ReturnCallIndirect { type_index, .. }
                | Operator::CallRef { type_index }
                | Operator::ReturnCallRef { type_index } => {
                    function.calls_through.insert(type_index);
                }
                _ => {}
            }
        }
        self.bodies.push(function);
        Ok(())
    }

    /// Names are for people only: a broken name section is no reason to refuse a module.
    fn function_names(&mut self, names: wasmparser::NameSectionReader<'_>) {
        for subsection in names.into_iter().flatten() {
            if let wasmparser::Name::Function(map) = subsection {
                self.names.extend(map.into_iter().flatten().map(|n| (n.index, n.name.to_owned())));
            }
        }
    }

    /// Resolves calls through tables to the functions that they may reach, and marks what is reachable.
    fn finish(mut self) -> WasmModule {
        let mut by_type: BTreeMap<&FuncType, BTreeSet<u32>> = BTreeMap::new();
        for &function in &self.referenced {
            if let Some(ty) = self.functions.get(function as usize).and_then(|t| self.types.get(*t as usize))
            {
                by_type.entry(ty).or_default().insert(function);
            }
        }
        for body in &mut self.bodies {
            for ty in &body.calls_through {
                let targets = self.types.get(*ty as usize).and_then(|ty| by_type.get(ty));
                body.calls.extend(targets.into_iter().flatten());
            }
        }
        let imported_names =
            self.imported.iter().filter_map(|i| self.module.imports.get(*i as usize)).map(|i| i.name.clone());
        let mut names: BTreeMap<u32, String> = self.names;
        for (name, index) in &self.entries {
            names.entry(*index).or_insert_with(|| name.clone());
        }
        names.extend((0..).zip(imported_names));
        let mut module = self.module;
        module.memories = self.memories;
        module.calls = CallGraph::new(self.imported.len() as u32, self.bodies, names, self.entries);
        for function in module.calls.reachable_imports() {
            let import =
                self.imported.get(function as usize).and_then(|i| module.imports.get_mut(*i as usize));
            if let Some(import) = import {
                import.reachable = true;
            }
        }
        module
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> WasmModule {
        WasmModule::parse(&wat::parse_str(text).unwrap()).unwrap()
    }

    #[test]
    fn lists_imports_with_types_and_says_which_are_reachable() {
        let module = parse(
            r#"(module
                (import "env" "temp_get_reading" (func $t (result f32)))
                (import "env" "camera_last_frame" (func $c (param i32 i32) (result i64)))
                (memory (export "memory") 2 5)
                (func (export "other") (drop (call $c (i32.const 0) (i32.const 1))))
                (func (export "module_step") (drop (call $t))))"#,
        );
        assert_eq!(module.imports.len(), 2);
        assert!(module.imports[0].reachable);
        assert!(!module.imports[1].reachable, "only an export that the runtime never calls reaches it");
        assert_eq!(module.imports[1].ty.to_string(), "(i32, i32) -> i64");
        assert_eq!(module.export("module_step"), Some(&Extern::Function(Signature::default())));
        assert_eq!(module.memories, [Memory { initial_pages: 2, maximum_pages: Some(5) }]);
        assert!(!module.has_start);
    }

    #[test]
    fn an_import_in_a_table_is_reachable_only_through_its_type() {
        let text = |call: &str| {
            format!(
                r#"(module
                (import "env" "timer_get_timestamp" (func $t (result i64)))
                (type $long (func (result i64))) (type $plain (func))
                (table 2 funcref) (elem (i32.const 0) $t)
                (func (export "module_step") {call}))"#
            )
        };
        let same = parse(&text("(drop (call_indirect (type $long) (i32.const 0)))"));
        let other = parse(&text("(call_indirect (type $plain) (i32.const 0))"));
        assert!(same.imports[0].reachable);
        assert!(!other.imports[0].reachable);
    }

    #[test]
    fn custom_sections_and_start_are_seen() {
        let mut bytes = wat::parse_str(r#"(module (func $s) (start $s))"#).unwrap();
        bytes.extend([0, 6, 4, b'n', b'o', b't', b'e', 7]);
        let module = WasmModule::parse(&bytes).unwrap();
        assert!(module.has_start);
        assert_eq!(module.custom_sections.last().map(|s| (s.name.as_str(), s.bytes)), Some(("note", 1)));
    }

    /// Bytes from outside: whatever they are, an answer or an error.
    #[test]
    fn no_truncation_and_no_changed_byte_of_a_real_module_is_a_panic() {
        let bytes = include_bytes!("../../examples/camera_filter_compress/modules/frame_filter_rust.wasm");
        assert!(WasmModule::parse(bytes).is_ok());
        for len in (0..bytes.len()).step_by(7) {
            // At the end of a section it may be a module all the same.
            let _ = WasmModule::parse(&bytes[..len]);
        }
        let mut changed = bytes.to_vec();
        for at in (0..bytes.len()).step_by(3) {
            for value in [0x00, 0x7f, 0xff] {
                changed[at] = value;
                if let Ok(module) = WasmModule::parse(&changed) {
                    // A refusal and a bound are both answers.
                    let _ = module.calls.bound(|_| Some(1));
                }
            }
            changed[at] = bytes[at];
        }
    }

    #[test]
    fn what_is_not_a_module_is_refused_with_the_reason() {
        assert!(WasmModule::parse(b"\0asm").unwrap_err().contains("not a valid WebAssembly module"));
        let component = [0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0];
        assert!(WasmModule::parse(&component).unwrap_err().contains("component"));
    }
}
