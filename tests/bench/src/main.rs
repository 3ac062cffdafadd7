//! Measures the edge table and writes it as Markdown and JSON.
#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fuse_bench::plan::Plan;
use fuse_bench::report::Verdict;
use fuse_bench::{Result, rows};

/// Measures what the edge runtime promises, each figure beside its rival in the same run.
#[derive(Parser)]
#[command(version, after_help = "A missed bar does not fail the run: it is in the table.")]
struct Arguments {
    /// Counts so small that the figures mean nothing: a check that all of them come out.
    #[arg(long)]
    quick: bool,
    /// Where edge.md and edge.json are written.
    #[arg(long, default_value = "target/bench", value_name = "DIR")]
    out: PathBuf,
    /// Only the groups whose name begins so: step, c, event, life, quota, kernel.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "GROUP")]
    only: String,
    #[command(subcommand)]
    command: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// A part of a measurement that needs a process of its own.
    #[command(hide = true)]
    Child {
        #[command(subcommand)]
        child: Child,
    },
}

#[derive(Subcommand)]
enum Child {
    /// Keeps a core busy.
    Spin { core: usize },
    /// Memory of idle modules.
    Memory { what: String, modules: usize },
    /// The Rust API on the modules of a folder, as JSON: what the bindings are compared with.
    Reference { folder: PathBuf },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        Some(Part::Child { child: Child::Spin { core } }) => rows::quota::spin(*core),
        Some(Part::Child { child: Child::Memory { what, modules } }) => {
            rows::life::memory_in_this_process(what, *modules).map(|bytes| println!("{bytes}"))
        }
        Some(Part::Child { child: Child::Reference { folder } }) => reference(folder, arguments.quick),
        None => run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("fuse-bench: {e}");
            ExitCode::FAILURE
        }
    }
}

fn reference(folder: &std::path::Path, quick: bool) -> Result<()> {
    let plan = if quick { Plan::QUICK } else { Plan::FULL };
    println!("{}", serde_json::to_string(&rows::bindings::reference(folder, &plan)?)?);
    Ok(())
}

fn run(arguments: &Arguments) -> Result<()> {
    let plan = if arguments.quick { Plan::QUICK } else { Plan::FULL };
    let table = rows::edge(&plan, &arguments.only, |group| eprintln!("measuring {group} …"))?;
    let (markdown, json) = (table.to_markdown(), serde_json::to_string_pretty(&table)? + "\n");
    let out = &arguments.out;
    fs::create_dir_all(out).map_err(|e| format!("cannot make {}: {e}", out.display()))?;
    for (name, text) in [("edge.md", &markdown), ("edge.json", &json)] {
        let path = out.join(name);
        fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    print!("{markdown}");
    let (met, missed) = table.score();
    println!(
        "\n{met} bars met, {missed} missed; the table is in {0}/edge.md and {0}/edge.json",
        out.display()
    );
    for row in table.rows.iter().filter(|row| row.verdict == Verdict::Missed) {
        println!("missed: {}", row.figure);
    }
    Ok(())
}
