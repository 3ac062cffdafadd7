//! The public surface of the core, read from its source: the methods of the types that people hold, and free functions.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syn::{ImplItem, Item, Type, Visibility};

use crate::Error;

/// The types whose public methods are the surface, and the folder that has them.
const TYPES: &[(&str, &[&str])] = &[
    ("fuse-core/edge/src", &["AppConfig", "Artifact", "EventPoster", "MemoryPlan", "Policy", "Runtime"]),
    ("fuse-core/orchestrator/src", &["Orchestrator"]),
    ("host-agent/src", &["Embedded"]),
];

/// Free functions that are part of it, with the file that has each.
const FUNCTIONS: &[(&str, &str)] = &[
    ("artifact::compile", "fuse-core/edge/src/artifact/compile.rs"),
    ("secrets::reseal_all", "fuse-core/orchestrator/src/secrets/rotation.rs"),
    ("store::copy", "fuse-core/orchestrator/src/store/dump.rs"),
    ("store::export", "fuse-core/orchestrator/src/store/dump.rs"),
    ("store::import", "fuse-core/orchestrator/src/store/dump.rs"),
    ("store::verify", "fuse-core/orchestrator/src/store/dump.rs"),
];

/// Every name of the surface, as `Type::method` or `module::function`, sorted.
pub(crate) fn read(root: &Path) -> Result<BTreeSet<String>, Error> {
    let mut names = BTreeSet::new();
    for (folder, types) in TYPES {
        for file in sources(&root.join(folder))? {
            for item in parse(&file)?.items {
                methods(&item, types, &mut names);
            }
        }
    }
    for (name, file) in FUNCTIONS {
        let function = name.rsplit("::").next().unwrap_or(name);
        let there = parse(&root.join(file))?
            .items
            .iter()
            .any(|item| matches!(item, Item::Fn(f) if is_public(&f.vis) && f.sig.ident == function));
        if !there {
            return Err(Error::Gone { name: (*name).to_owned(), file: (*file).to_owned() });
        }
        names.insert((*name).to_owned());
    }
    Ok(names)
}

fn methods(item: &Item, types: &[&str], names: &mut BTreeSet<String>) {
    let Item::Impl(block) = item else { return };
    let Type::Path(path) = &*block.self_ty else { return };
    let Some(of) = path.path.segments.last() else { return };
    if block.trait_.is_some() || !types.iter().any(|t| of.ident == t) || is_for_tests(&block.attrs) {
        return;
    }
    for member in &block.items {
        if let ImplItem::Fn(function) = member
            && is_public(&function.vis)
            && !is_for_tests(&function.attrs)
        {
            names.insert(format!("{}::{}", of.ident, function.sig.ident));
        }
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// `#[cfg(test)]` or `#[doc(hidden)]`: not for users.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let inside = list.tokens.to_string();
        (list.path.is_ident("cfg") && inside == "test") || (list.path.is_ident("doc") && inside == "hidden")
    })
}

fn parse(file: &Path) -> Result<syn::File, Error> {
    let text = crate::read_text(file)?;
    syn::parse_file(&text).map_err(|why| Error::Source { file: file.to_owned(), why })
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |why| Error::Unreadable { file: folder.to_owned(), why };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_methods_of_known_types_count() {
        let source = "impl Runtime { pub fn a(&self) {} fn b(&self) {} pub(crate) fn c(&self) {} #[doc(hidden)] pub fn d() {} }
                      impl Other { pub fn e(&self) {} } impl Clone for Runtime { fn clone(&self) -> Self { todo!() } }
                      #[cfg(test)] impl Runtime { pub fn f() {} }";
        let mut names = BTreeSet::new();
        for item in syn::parse_file(source).unwrap_or_else(|e| unreachable!("{e}")).items {
            methods(&item, &["Runtime"], &mut names);
        }
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["Runtime::a"]);
    }
}
