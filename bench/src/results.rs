//! What a comparison leaves behind: samples.jsonl, a line for the machine and one for each sample,
//! and a report.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::machine::Machine;

/// A directory of results.
pub(crate) struct Results {
    directory: PathBuf,
    /// samples.jsonl.
    pub(crate) samples: File,
    names: Vec<String>,
}

impl Results {
    /// Makes `--out` where it is not there, and begins its samples.
    pub(crate) fn begin(directory: &Path, machine: &Machine) -> Result<Self, Failure> {
        fs::create_dir_all(directory)
            .map_err(Failure::at(format!("--out {}", directory.display())))?;
        let path = directory.join("samples.jsonl");
        let mut samples = File::create(&path).map_err(Failure::at(path.display()))?;
        let header = serde_json::to_string(machine).map_err(Failure::at("machine"))?;
        writeln!(samples, "{header}").map_err(Failure::at(path.display()))?;
        Ok(Self {
            directory: directory.to_owned(),
            samples,
            names: Vec::new(),
        })
    }

    /// Writes a file beside the samples.
    pub(crate) fn write(&mut self, name: &str, content: &str) -> Result<(), Failure> {
        let path = self.directory.join(name);
        fs::write(&path, content).map_err(Failure::at(path.display()))?;
        self.names.push(name.to_owned());
        Ok(())
    }

    /// Says the report and where it is; an error that names the cases `without` a result.
    pub(crate) fn tell(&self, report: &str, without: &[&str]) -> Result<(), Failure> {
        println!("{report}");
        let (directory, names) = (self.directory.display(), self.names.join(", "));
        println!("written: {directory}/{names}, samples.jsonl");
        if without.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!(
            "no result for {}: other processes used a core of the measurement in more than 30 % of the \
             rounds; stop them and try again",
            without.join(", ")
        )))
    }
}
