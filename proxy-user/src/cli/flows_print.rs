//! Flows as `sidestep flows` prints them.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use proxy_plane::flows::{self, Flow};

use super::{Output, flows_table::Layout};
use crate::{out, yaml};

pub(super) struct Printer {
    output: Output,
    is_wide: bool,
    has_head: bool,
}

impl Printer {
    pub(super) const fn of(output: Output, is_wide: bool) -> Self {
        Self { output, is_wide, has_head: false }
    }

    /// False: nobody reads any more.
    pub(super) fn print(&mut self, flows: &[Flow], is_all: bool) -> Result<bool> {
        let mut text = String::new();
        match self.output {
            Output::Json => {
                for flow in flows {
                    writeln!(text, "{}", flow.to_json().context("encode a flow")?)?;
                }
                out::json_lines(&text)
            }
            Output::Yaml => {
                for flow in flows {
                    let flow = serde_json::from_str(&flow.to_json().context("encode a flow")?)?;
                    text.push_str(&yaml::document(&flow));
                }
                out::json_lines(&text)
            }
            Output::Table if flows.is_empty() && is_all => out::lines("no flows\n"),
            Output::Table => {
                let layout = Layout::of_output(self.is_wide);
                if !self.has_head {
                    writeln!(text, "{}", layout.head())?;
                    self.has_head = true;
                }
                for flow in flows {
                    writeln!(text, "{}", layout.row(flow))?;
                }
                out::lines(&text)
            }
        }
    }

    /// As an object of its own among the JSON lines; beside a table on stderr, so that its lines stay one flow each.
    pub(super) fn say_lost(&self, now: u64, total: u64) -> Result<bool> {
        let text = format!("{now} records were overwritten before they could be read ({total} so far)");
        match self.output {
            Output::Json | Output::Yaml => {
                let line = serde_json::json!({ "schema": flows::SCHEMA, "lost": now, "lost_total": total });
                self.output.document(&line)
            }
            Output::Table => {
                out::complain(format!(
                    "{text}; a filter on the reader's side does not help, fewer flows or a faster terminal do"
                ));
                Ok(true)
            }
        }
    }
}
