//! The description of the API as a page for people.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Map, Value};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
const HEAD: &str = "\
# The REST API

Made of [openapi.json](openapi.json), which is made of the code; do not edit. A server has its own at `/v1/openapi.json`.
What is true of every request is in [server.md](server.md). A field in **bold** is always there, or must be given.
";

/// The page, in Markdown.
pub fn render(document: &Value) -> String {
    let mut page = HEAD.to_owned();
    let mut groups: BTreeMap<&str, Vec<(&str, &str, &Value)>> = BTreeMap::new();
    for (path, item) in members(&document["paths"]) {
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                let tag = operation["tags"][0].as_str().unwrap_or("other");
                groups.entry(tag).or_default().push((method, path, operation));
            }
        }
    }
    let mut refusals = BTreeMap::new();
    for (tag, operations) in groups {
        let _ = write!(page, "\n## {}\n", title(tag));
        for (method, path, operation) in operations {
            one_operation(&mut page, method, path, operation, &mut refusals);
        }
    }
    page.push_str("\n## Refusals\n\nEvery one has an `ErrorBody`.\n\n| Status | |\n|---|---|\n");
    for (status, text) in refusals {
        let _ = writeln!(page, "| {status} | {text} |");
    }
    page.push_str("\n## Bodies\n");
    for (name, schema) in members(&document["components"]["schemas"]) {
        one_schema(&mut page, name, schema);
    }
    page
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter).map(|(name, member)| (name.as_str(), member))
}

fn title(tag: &str) -> String {
    let mut letters = tag.replace('-', " ");
    if let Some(first) = letters.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    letters
}

/// The text of a description in one line of a table.
fn line(value: &Value) -> String {
    value.as_str().unwrap_or_default().replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn one_operation(
    page: &mut String,
    method: &str,
    path: &str,
    operation: &Value,
    refusals: &mut BTreeMap<String, String>,
) {
    let _ = write!(page, "\n### {} `{path}`\n\n", method.to_uppercase());
    for text in [line(&operation["summary"]), line(&operation["description"])] {
        if !text.is_empty() {
            let _ = writeln!(page, "{text}");
        }
    }
    if operation.get("security").is_none() {
        page.push_str("Needs no credentials.\n");
    }
    let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
    if !parameters.is_empty() {
        page.push_str("\n| Parameter | In | |\n|---|---|---|\n");
    }
    for parameter in parameters {
        let name = named(parameter["name"].as_str().unwrap_or("?"), parameter["required"] == true);
        let (place, text) = (line(&parameter["in"]), line(&parameter["description"]));
        let _ = writeln!(page, "| {name} | {place} | {text} |");
    }
    let body = &operation["requestBody"];
    if body.is_object() {
        let _ = writeln!(page, "\nBody: {}. {}", content(&body["content"]), line(&body["description"]));
    }
    page.push_str("\n| Answer | Body | |\n|---|---|---|\n");
    for (status, response) in members(&operation["responses"]) {
        let (body, text) = (content(&response["content"]), line(&response["description"]));
        if body == "[ErrorBody](#errorbody)" {
            refusals.entry(status.to_owned()).or_insert(text);
        } else {
            let _ = writeln!(page, "| {status} | {body} | {text} |");
        }
    }
}

fn named(name: &str, is_required: bool) -> String {
    if is_required { format!("**`{name}`**") } else { format!("`{name}`") }
}

/// What a body is, for each type that it may have.
fn content(content: &Value) -> String {
    let one = |(media, body): (&str, &Value)| match media {
        "application/json" => kind(&body["schema"]),
        media => format!("`{media}`: {}", kind(&body["schema"])),
    };
    let all: Vec<_> = members(content).map(one).collect();
    if all.is_empty() { "–".to_owned() } else { all.join("; ") }
}

fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        if let Some(schemas) = schema[choice].as_array() {
            let kinds: Vec<_> = schemas.iter().map(kind).filter(|kind| kind != "null").collect();
            return kinds.join(" or ");
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| format!("`{}`", line(value))).collect::<Vec<_>>().join(", ");
    }
    let name = match &schema["type"] {
        Value::Array(names) => {
            names.iter().map(line).filter(|name| name != "null").collect::<Vec<_>>().join(" or ")
        }
        name => line(name),
    };
    match name.as_str() {
        "array" => format!("list of {}", kind(&schema["items"])),
        "object" if schema.get("additionalProperties").is_some() => {
            format!("map of {}", kind(&schema["additionalProperties"]))
        }
        "" => "anything".to_owned(),
        _ => name,
    }
}

fn one_schema(page: &mut String, name: &str, schema: &Value) {
    let _ = write!(page, "\n### {name}\n\n");
    let text = line(&schema["description"]);
    if !text.is_empty() {
        let _ = writeln!(page, "{text}\n");
    }
    let parts = schema["allOf"].as_array().map_or_else(|| vec![schema], |parts| parts.iter().collect());
    let mut rows = String::new();
    for part in &parts {
        let required = part["required"].as_array().map_or(&[][..], Vec::as_slice);
        for (field, inner) in members(&part["properties"]) {
            let name = named(field, required.iter().any(|name| name == field));
            let nested = inner["oneOf"].as_array().into_iter().flatten();
            let text = [inner].into_iter().chain(nested).map(|inner| line(&inner["description"]));
            let text = text.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
            let _ = writeln!(rows, "| {name} | {} | {text} |", kind(inner));
        }
    }
    if rows.is_empty() {
        let _ = writeln!(page, "{}", kind(schema));
        return;
    }
    for part in parts.iter().filter(|part| part.get("$ref").is_some()) {
        let _ = writeln!(page, "All of {}, and:\n", kind(part));
    }
    let _ = write!(page, "| Field | | |\n|---|---|---|\n{rows}");
}
