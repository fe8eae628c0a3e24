//! Tables: on a terminal in columns that fit its width, in a pipe one line a row with tabs between the cells.

use std::{
    fmt,
    io::{self, IsTerminal as _},
};

use comfy_table::{
    ContentArrangement, Table,
    presets::{NOTHING, UTF8_HORIZONTAL_ONLY},
};

/// Where nobody can say how wide the terminal is.
const USUAL_WIDTH: u16 = 80;

/// Rows under a head.
#[derive(Debug, Default)]
pub(crate) struct Sheet {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// Lines between the rows.
    ruled: bool,
}

impl Sheet {
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new(), ruled: true }
    }

    /// Without lines: there are many short rows.
    pub(crate) fn unruled(head: &[&'static str]) -> Self {
        Self { ruled: false, ..Self::new(head) }
    }

    pub(crate) fn add(&mut self, row: impl IntoIterator<Item = String>) {
        self.rows.push(row.into_iter().collect());
    }

    /// For a terminal of this width.
    fn boxed(&self, width: u16) -> String {
        let mut table = Table::new();
        table
            .load_preset(if self.ruled { UTF8_HORIZONTAL_ONLY } else { NOTHING })
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width)
            .set_header(&self.head);
        table.add_rows(&self.rows);
        table.to_string()
    }

    /// For programs that read lines. Lines of a cell are parts of it, with commas.
    fn plain(&self) -> String {
        let cell = |text: &String| text.replace('\n', ", ").replace('\t', " ");
        let row = |cells: &Vec<String>| cells.iter().map(cell).collect::<Vec<_>>().join("\t");
        let rows: Vec<String> = self.rows.iter().map(row).collect();
        [vec![self.head.join("\t")], rows].concat().join("\n")
    }
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&width().map_or_else(|| self.plain(), |width| self.boxed(width)))
    }
}

/// Columns of the terminal on standard output; none: it is not one.
pub(crate) fn width() -> Option<u16> {
    if !io::stdout().is_terminal() {
        return None;
    }
    Some(ratatui::crossterm::terminal::size().map_or(USUAL_WIDTH, |(columns, _)| columns).max(20))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet() -> Sheet {
        let mut sheet = Sheet::new(&["WORKLOAD", "CGROUP", "DECISIONS", "ACCELERATED"]);
        let cgroup =
            "/sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b2c3d.slice";
        sheet
            .add(["4026532178-47012", cgroup, "I6 2\nO15 1", "safe-readers: 37 % of 15M"].map(str::to_owned));
        sheet
    }

    #[test]
    fn it_fits_the_terminal() {
        for width in [60, 80, 200] {
            let text = sheet().boxed(width);
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width.into()), "{width}:\n{text}");
        }
        assert_eq!(sheet().boxed(200).lines().count(), 6, "{}", sheet().boxed(200));
    }

    #[test]
    fn in_a_pipe_each_row_is_a_line_of_as_many_cells() {
        let text = sheet().plain();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines.iter().all(|line| line.split('\t').count() == 4), "{text}");
        assert!(lines[1].contains("\tI6 2, O15 1\t"), "{text}");
    }
}
