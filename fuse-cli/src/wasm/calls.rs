//! Who calls whom: how deep the calls of a module can nest, and which imports it can reach.
//!
//! A call through a table is taken as a call of every function of that type that any table or reference may
//! hold, so what is computed here is never less than what can happen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::ENTRIES;

/// One function of the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Function {
    /// The functions that it may call, imported ones among them.
    pub(crate) calls: BTreeSet<u32>,
    /// The types of its calls through tables and references.
    pub(crate) calls_through: BTreeSet<u32>,
    /// Whether some of its calls give its own frame away.
    pub(crate) tail_calls: bool,
}

/// The call graph. Functions `0..imported` are imports.
#[derive(Debug, Default)]
pub(crate) struct CallGraph {
    imported: u32,
    functions: Vec<Function>,
    names: BTreeMap<u32, String>,
    entries: BTreeMap<String, u32>,
}

/// The dearest chain of calls from an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    /// Sum of the cost of each function in the chain.
    pub(crate) cost: u64,
    /// The functions of the chain, the entry first.
    pub(crate) chain: Vec<u32>,
}

/// Why no bound can be computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Uncomputable {
    /// The functions of a cycle, by name, the first again at the end.
    Recursion(Vec<String>),
    /// The cost of this function is not known.
    Unknown(String),
}

impl fmt::Display for Uncomputable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recursion(cycle) => write!(f, "not computable: recursion through {}", cycle.join(" -> ")),
            Self::Unknown(name) => write!(f, "not computable: the frame of {name} is not known"),
        }
    }
}

/// How far a function has been looked at.
#[derive(Clone)]
enum Visit {
    Open,
    Done(Bound),
}

impl CallGraph {
    pub(crate) fn new(
        imported: u32,
        functions: Vec<Function>,
        names: BTreeMap<u32, String>,
        entries: BTreeMap<String, u32>,
    ) -> Self {
        Self { imported, functions, names, entries }
    }

    /// What people call a function: its name, or `func[7]`.
    pub(crate) fn name(&self, function: u32) -> String {
        self.names.get(&function).cloned().unwrap_or_else(|| format!("func[{function}]"))
    }

    /// The number of functions that the module defines itself.
    pub(crate) fn defined(&self) -> usize {
        self.functions.len()
    }

    /// The number of functions that the module imports.
    pub(crate) const fn imported(&self) -> u32 {
        self.imported
    }

    /// A function that makes tail calls, if there is one: its callee may need more room than its own frame had.
    pub(crate) fn tail_caller(&self) -> Option<String> {
        let defined = self.functions.iter().position(|f| f.tail_calls)?;
        Some(self.name(self.imported + u32::try_from(defined).ok()?))
    }

    fn callees(&self, function: u32) -> impl DoubleEndedIterator<Item = u32> + '_ {
        let body = function.checked_sub(self.imported).and_then(|i| self.functions.get(i as usize));
        body.into_iter().flat_map(|f| f.calls.iter().copied())
    }

    /// The entries that the runtime calls, with their function.
    fn entries(&self) -> impl Iterator<Item = u32> + '_ {
        let called = |name: &str| ENTRIES.contains(&name) || name == "start function";
        self.entries.iter().filter(move |(name, _)| called(name)).map(|(_, function)| *function)
    }

    /// The imports that some entry may call.
    pub(crate) fn reachable_imports(&self) -> BTreeSet<u32> {
        let mut seen: BTreeSet<u32> = self.entries().collect();
        let mut open: Vec<u32> = seen.iter().copied().collect();
        while let Some(function) = open.pop() {
            open.extend(self.callees(function).filter(|callee| seen.insert(*callee)));
        }
        seen.into_iter().filter(|f| *f < self.imported).collect()
    }

    /// The dearest chain of calls from any entry, when a function costs what `cost` says, an import nothing.
    /// `cost` is asked by the index of the function among those that the module defines.
    ///
    /// Each function is looked at once, without recursion of our own: the module may nest as deep as it likes.
    pub(crate) fn bound(&self, cost: impl Fn(u32) -> Option<u64>) -> Result<Bound, Uncomputable> {
        let mut visits: BTreeMap<u32, Visit> = BTreeMap::new();
        let mut best = Bound { cost: 0, chain: Vec::new() };
        for entry in self.entries() {
            self.visit(entry, &cost, &mut visits)?;
            if let Some(Visit::Done(bound)) = visits.get(&entry)
                && (bound.cost > best.cost || best.chain.is_empty())
            {
                best = bound.clone();
            }
        }
        // Chains are kept as links (the function and the dearest callee), and followed only here.
        let mut chain = best.chain;
        while let Some(Visit::Done(next)) = chain.last().and_then(|last| visits.get(last)) {
            match next.chain.get(1) {
                Some(callee) => chain.push(*callee),
                None => break,
            }
        }
        Ok(Bound { cost: best.cost, chain })
    }

    fn visit(
        &self,
        entry: u32,
        cost: &impl Fn(u32) -> Option<u64>,
        visits: &mut BTreeMap<u32, Visit>,
    ) -> Result<(), Uncomputable> {
        let mut stack = vec![entry];
        while let Some(&function) = stack.last() {
            match visits.get(&function) {
                None => {
                    visits.insert(function, Visit::Open);
                    for callee in self.callees(function) {
                        match visits.get(&callee) {
                            None => stack.push(callee),
                            Some(Visit::Open) => return Err(self.cycle(callee)),
                            Some(Visit::Done(_)) => {}
                        }
                    }
                }
                Some(Visit::Open) => {
                    let bound = self.sum(function, cost, visits)?;
                    visits.insert(function, Visit::Done(bound));
                    stack.pop();
                }
                Some(Visit::Done(_)) => {
                    stack.pop();
                }
            }
        }
        Ok(())
    }

    /// The bound of a function whose callees have theirs.
    fn sum(
        &self,
        function: u32,
        cost: &impl Fn(u32) -> Option<u64>,
        visits: &BTreeMap<u32, Visit>,
    ) -> Result<Bound, Uncomputable> {
        let Some(defined) = function.checked_sub(self.imported) else {
            return Ok(Bound { cost: 0, chain: vec![function] });
        };
        let own = cost(defined).ok_or_else(|| Uncomputable::Unknown(self.name(function)))?;
        let mut dearest: Option<(u64, u32)> = None;
        for callee in self.callees(function).filter(|c| *c >= self.imported) {
            match visits.get(&callee) {
                Some(Visit::Done(bound)) if dearest.is_none_or(|(cost, _)| bound.cost > cost) => {
                    dearest = Some((bound.cost, callee));
                }
                Some(Visit::Done(_)) => {}
                _ => return Err(self.cycle(callee)),
            }
        }
        let (below, next) = dearest.map_or((0, None), |(cost, callee)| (cost, Some(callee)));
        let chain = std::iter::once(function).chain(next).collect();
        Ok(Bound { cost: own.saturating_add(below), chain })
    }

    /// The shortest cycle through a function that is known to be in one.
    fn cycle(&self, function: u32) -> Uncomputable {
        let mut came_from: BTreeMap<u32, u32> = BTreeMap::new();
        let mut open = std::collections::VecDeque::from([function]);
        'search: while let Some(at) = open.pop_front() {
            for callee in self.callees(at) {
                if callee == function {
                    came_from.insert(function, at);
                    break 'search;
                }
                came_from.entry(callee).or_insert_with(|| {
                    open.push_back(callee);
                    at
                });
            }
        }
        let mut cycle = vec![self.name(function)];
        let mut at = function;
        while let Some(&caller) = came_from.get(&at) {
            cycle.push(self.name(caller));
            at = caller;
            if at == function {
                break;
            }
        }
        cycle.reverse();
        Uncomputable::Recursion(cycle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasm::WasmModule;

    fn graph(text: &str) -> CallGraph {
        WasmModule::parse(&wat::parse_str(text).unwrap()).unwrap().calls
    }

    fn named(graph: &CallGraph, bound: &Bound) -> Vec<String> {
        bound.chain.iter().map(|f| graph.name(*f)).collect()
    }

    const CHAIN: &str = r#"(module
        (import "env" "timer_get_timestamp" (func $t (result i64)))
        (func $leaf (drop (call $t)))
        (func $shallow)
        (func $middle (call $leaf) (call $shallow))
        (func (export "module_step") (call $shallow) (call $middle))
        (func (export "unused") (call $unused))
        (func $unused (call $unused)))"#;

    #[test]
    fn depth_is_that_of_the_longest_chain_and_host_calls_are_free() {
        let graph = graph(CHAIN);
        let bound = graph.bound(|_| Some(1)).unwrap();
        assert_eq!(bound.cost, 3);
        assert_eq!(named(&graph, &bound), ["module_step", "middle", "leaf"]);
    }

    #[test]
    fn the_dearest_chain_wins_not_the_longest() {
        let graph = graph(CHAIN);
        let bound = graph.bound(|f| Some(if f == 1 { 1000 } else { 10 })).unwrap();
        assert_eq!(bound.cost, 1020);
        assert_eq!(named(&graph, &bound), ["module_step", "middle", "shallow"]);
    }

    #[test]
    fn recursion_is_named() {
        let graph = graph(
            r#"(module (func $a (call $b)) (func $b (call $c)) (func $c (call $a))
                (func (export "module_step") (call $a)))"#,
        );
        let error = graph.bound(|_| Some(1)).unwrap_err();
        assert_eq!(error.to_string(), "not computable: recursion through a -> b -> c -> a");
    }

    #[test]
    fn self_recursion_in_init_and_through_a_table_is_found() {
        let direct =
            graph(r#"(module (func $i (export "module_init") (call $i)) (func (export "module_step")))"#);
        let error = direct.bound(|_| Some(1)).unwrap_err();
        assert_eq!(error, Uncomputable::Recursion(vec!["i".into(), "i".into()]));
        let table = graph(
            r#"(module (table 1 funcref) (elem (i32.const 0) $f)
                (func $f (call_indirect (i32.const 0)))
                (func (export "module_step") (call $f)))"#,
        );
        assert!(matches!(table.bound(|_| Some(1)), Err(Uncomputable::Recursion(_))));
    }

    #[test]
    fn calls_through_a_table_without_a_cycle_are_bounded() {
        let graph = graph(
            r#"(module (table 2 funcref) (elem (i32.const 0) $f $g)
                (type $binary (func (param i32)))
                (func $f (param i32)) (func $g (param i32) (call $h)) (func $h)
                (func (export "module_step") (call_indirect (type $binary) (i32.const 0) (i32.const 1))))"#,
        );
        let bound = graph.bound(|_| Some(1)).unwrap();
        assert_eq!(named(&graph, &bound), ["module_step", "g", "h"]);
    }

    #[test]
    fn a_frame_that_is_not_known_is_said() {
        let error = graph(CHAIN).bound(|f| (f != 0).then_some(1)).unwrap_err();
        assert_eq!(error.to_string(), "not computable: the frame of leaf is not known");
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_calls_does_not_exhaust_our_own_stack() {
        let functions = (1..100_000u32)
            .map(|next| Function { calls: BTreeSet::from([next]), ..Function::default() })
            .chain([Function::default()])
            .collect();
        let entries = BTreeMap::from([("module_step".to_owned(), 0)]);
        let graph = CallGraph::new(0, functions, BTreeMap::new(), entries);
        let bound = graph.bound(|_| Some(1)).unwrap();
        assert_eq!((bound.cost, bound.chain.len()), (100_000, 100_000));
    }

    /// The same by the definition: every chain is followed. `None` when one comes back to itself.
    fn naive(edges: &[BTreeSet<u32>], costs: &[u64], at: u32, above: &mut Vec<u32>) -> Option<u64> {
        if above.contains(&at) {
            return None;
        }
        above.push(at);
        let mut dearest = 0;
        for callee in &edges[at as usize] {
            dearest = dearest.max(naive(edges, costs, *callee, above)?);
        }
        above.pop();
        Some(costs[at as usize] + dearest)
    }

    proptest::proptest! {
        /// Against the definition, on any graph: the same cost, by a chain that exists, or a cycle that exists.
        #[test]
        fn the_bound_is_that_of_the_definition(
            edges in proptest::collection::vec(proptest::collection::btree_set(0u32..9, 0..3), 9),
            costs in proptest::collection::vec(1u64..100, 9),
            acyclic in proptest::bool::ANY,
        ) {
            let forward = |at: usize| edges[at].iter().copied().filter(|to| !acyclic || *to > at as u32).collect();
            let edges: Vec<BTreeSet<u32>> = (0..edges.len()).map(forward).collect();
            let functions = edges.iter().map(|calls| Function { calls: calls.clone(), ..Function::default() }).collect();
            let names = (0..9).map(|f| (f, f.to_string())).collect();
            let entries = BTreeMap::from([("module_step".to_owned(), 0)]);
            let graph = CallGraph::new(0, functions, names, entries);
            match (graph.bound(|f| Some(costs[f as usize])), naive(&edges, &costs, 0, &mut Vec::new())) {
                (Ok(bound), Some(cost)) => {
                    proptest::prop_assert_eq!(bound.cost, cost);
                    proptest::prop_assert_eq!(bound.chain.iter().map(|f| costs[*f as usize]).sum::<u64>(), cost);
                    proptest::prop_assert!(bound.chain.windows(2).all(|w| edges[w[0] as usize].contains(&w[1])));
                }
                (Err(Uncomputable::Recursion(cycle)), None) => {
                    proptest::prop_assert!(cycle.len() > 1 && cycle.first() == cycle.last());
                    let index = |name: &String| name.parse::<u32>().unwrap();
                    let is_call = |w: &[String]| edges[index(&w[0]) as usize].contains(&index(&w[1]));
                    proptest::prop_assert!(cycle.windows(2).all(is_call));
                }
                (found, expected) => proptest::prop_assert!(false, "{found:?}, by definition {expected:?}"),
            }
        }
    }
}
