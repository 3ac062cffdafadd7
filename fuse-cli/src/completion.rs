//! Completion for shells, and the manual.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::fleet::format;
use crate::outcome::{Failure, Outcome, Verdict};

/// Print what a shell needs to complete the commands of this program
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fuse completion bash > /etc/bash_completion.d/fuse
  fuse completion zsh > ~/.zfunc/_fuse")]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(&self) -> Outcome {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "fuse", &mut text);
        format::write(&String::from_utf8_lossy(&text));
        Ok(Verdict::Fine)
    }
}

/// Print the manual, or write a page for every command into a folder
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fuse man | man -l -
  fuse man --folder /usr/local/share/man/man1")]
pub(crate) struct Manual {
    /// Write a page for every command here
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

impl Manual {
    pub(crate) fn run(&self) -> Outcome {
        let command = Cli::command();
        match &self.folder {
            Some(folder) => {
                std::fs::create_dir_all(folder).map_err(Failure::io("make", folder))?;
                clap_mangen::generate_to(command, folder).map_err(Failure::io("write pages into", folder))?;
            }
            None => {
                let mut text = Vec::new();
                let page = std::path::Path::new("the manual");
                clap_mangen::Man::new(command).render(&mut text).map_err(Failure::io("write", page))?;
                format::write(&String::from_utf8_lossy(&text));
            }
        }
        Ok(Verdict::Fine)
    }
}
