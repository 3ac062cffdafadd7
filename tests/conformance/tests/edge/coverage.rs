//! Every requirement of `docs/scenarios.md` is covered: by a scenario, or by what the list names.

use std::collections::BTreeSet;

use fuse_conformance::{Scenario, edge_scenarios, repository, requirements};

fn covered() -> BTreeSet<String> {
    let files = Scenario::files(&edge_scenarios()).unwrap();
    files.iter().flat_map(|path| Scenario::read(path).unwrap().covers).collect()
}

#[test]
fn every_requirement_is_covered() {
    let requirements = requirements::read(&repository().join("docs/scenarios.md")).unwrap();
    let covered = covered();
    let bare: Vec<_> = requirements
        .iter()
        .filter(|(id, row)| !covered.contains(*id) && row.elsewhere.is_empty())
        .map(|(id, row)| format!("{id}: {}", row.text))
        .collect();
    assert!(bare.is_empty(), "no scenario covers, and no test is named for:\n{}", bare.join("\n"));
}

#[test]
fn scenarios_name_requirements_that_exist() {
    let requirements = requirements::read(&repository().join("docs/scenarios.md")).unwrap();
    let unknown: Vec<_> = covered().into_iter().filter(|id| !requirements.contains_key(id)).collect();
    assert!(unknown.is_empty(), "docs/scenarios.md does not list {unknown:?}");
}

#[test]
fn what_the_list_names_exists() {
    let requirements = requirements::read(&repository().join("docs/scenarios.md")).unwrap();
    for (id, row) in requirements {
        for place in row.elsewhere {
            let (path, test) = place.split_once("::").map_or((place.as_str(), None), |(p, t)| (p, Some(t)));
            let file = repository().join(path);
            assert!(file.exists(), "{id} names {path}, which does not exist");
            if let Some(test) = test {
                let text = std::fs::read_to_string(&file).unwrap();
                assert!(
                    text.contains(&format!("fn {test}(")),
                    "{id} names {place}, and there is no such test"
                );
            }
        }
    }
}

#[test]
fn there_are_enough_scenarios_and_each_says_what_it_shows() {
    let files = Scenario::files(&edge_scenarios()).unwrap();
    assert!(files.len() >= 60, "{} scenarios", files.len());
    for path in files {
        let scenario = Scenario::read(&path).unwrap();
        assert!(
            !scenario.covers.is_empty() && !scenario.about.is_empty() && !scenario.steps.is_empty(),
            "{}",
            path.display()
        );
    }
}
