//! The results on the standard output: text for people, or JSON objects, one a line.

use std::io::{self, BufWriter, Stdout, Write};

use serde::Serialize;

use super::OperatorError;

/// Where results go.
#[derive(Debug)]
pub struct Output {
    json: bool,
    out: BufWriter<Stdout>,
}

impl Output {
    /// Results as JSON if `json`, else as text.
    pub fn new(json: bool) -> Output {
        Output {
            json,
            out: BufWriter::new(io::stdout()),
        }
    }

    /// One result: `object` as JSON, or the line of `text`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn result(
        &mut self,
        object: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), OperatorError> {
        let line = match self.json {
            true => serde_json::to_string(object)
                .map_err(|error| OperatorError::Output(error.into()))?,
            false => text(),
        };
        writeln!(self.out, "{line}").map_err(OperatorError::Output)
    }

    /// A line for people only, such as the head of a table.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn text(&mut self, line: &str) -> Result<(), OperatorError> {
        if self.json {
            return Ok(());
        }
        writeln!(self.out, "{line}").map_err(OperatorError::Output)
    }

    /// Hands on what was kept back.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn flush(&mut self) -> Result<(), OperatorError> {
        self.out.flush().map_err(OperatorError::Output)
    }
}
