//! Tables for a terminal that are also tables in Markdown.

use std::fmt;

/// Rows of text under a head; columns of names are aligned left, columns of numbers right.
#[derive(Clone, Debug)]
pub struct Table {
    names: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this head and no rows; the first `names` columns are names.
    #[must_use]
    pub fn new(names: usize, head: &[&str]) -> Self {
        Self {
            names,
            rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()],
        }
    }

    /// Adds a row; cells that it lacks stay empty.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows[0].len();
        let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
        let width = |column: usize| {
            self.rows
                .iter()
                .map(|row| cell(row, column).chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            for (column, &width) in widths.iter().enumerate() {
                let text = cell(row, column);
                if column < self.names {
                    write!(formatter, "| {text:<width$} ")?;
                } else {
                    write!(formatter, "| {text:>width$} ")?;
                }
            }
            writeln!(formatter, "|")?;
            if number == 0 {
                for (column, &width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(width + 1);
                    let end = if column < self.names { '-' } else { ':' };
                    write!(formatter, "|{dashes}{end}")?;
                }
                writeln!(formatter, "|")?;
            }
        }
        Ok(())
    }
}

/// The median of the values; of an even number of them the lower one of the two in the middle.
///
/// # Panics
/// When there is no value.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value that a `part` (0 to 1) of the values do not exceed.
///
/// # Panics
/// When there is no value.
#[must_use]
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * part) as usize]
}

/// The smallest of the values, infinite when there is none.
#[must_use]
pub fn minimum(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_aligned() {
        let mut table = Table::new(1, &["server", "us"]);
        table.row(vec!["bare".into(), "12.50".into()]);
        let expected = "\
| server |    us |
|--------|------:|
| bare   | 12.50 |
";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn median_is_the_lower_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]).to_bits(), 2.0_f64.to_bits());
    }
}
