//! Tables for people: columns as wide as their widest cell.
//! It never cuts a cell; whoever wants less asks for JSON and picks.

/// Rows under a heading, all with the same number of cells.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// Columns of numbers, which end at the same place.
    right: &'static [usize],
}

impl Table {
    /// A table with this heading.
    pub(super) fn new(heading: &[&str], right: &'static [usize]) -> Self {
        let heading = heading.iter().map(|&cell| cell.to_owned()).collect();
        Self {
            rows: vec![heading],
            right,
        }
    }

    /// Adds a row.
    pub(super) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// The table as lines.
    pub(super) fn render(&self) -> String {
        let n_columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width_of = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..n_columns).map(width_of).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate();
            let padded = cells.map(|(column, (cell, width))| {
                if self.right.contains(&column) {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            });
            let joined = padded.collect::<Vec<_>>().join("  ");
            format!("{}\n", joined.trim_end())
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_do_not_end_in_blanks() {
        let mut table = Table::new(&["N", "NAME", "END"], &[0]);
        table.push(vec!["7".into(), "ü".into(), "a".into()]);
        table.push(vec!["100".into(), "name".into(), String::new()]);

        assert_eq!(table.render(), "  N  NAME  END\n  7  ü     a\n100  name\n");
    }
}
