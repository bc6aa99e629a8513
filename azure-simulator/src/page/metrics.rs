//! The metrics of a run: the last values, and how they came about.

use maud::{Markup, html};
use serde_json::Value;

use crate::page::figures;
use crate::physics::run::Run;

/// Metrics that are shown.
const MOST_METRICS: usize = 60;
/// Points of a curve; a longer one is thinned.
const MOST_POINTS: usize = 300;
/// Rows that are shown of a metric of version 1.
const MOST_ROWS: usize = 20;

/// In the units of the curve's own coordinates.
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 64.0;

#[derive(Default)]
pub(super) struct Metrics {
    series: Vec<Series>,
    tables: Vec<Table>,
}

/// The values of one metric, in the order they were logged.
struct Series {
    name: String,
    points: Vec<(i64, f64)>,
}

/// A metric of version 1: rows of anything.
struct Table {
    name: String,
    rows: Vec<String>,
    more: usize,
}

impl Metrics {
    pub(super) fn of(run: &Run) -> Self {
        let mut metrics = Self::default();
        for metric in &run.metrics {
            let known = metrics.series.iter().position(|one| one.name == metric.key);
            let at = known.unwrap_or_else(|| {
                metrics.series.push(Series {
                    name: metric.key.clone(),
                    points: Vec::new(),
                });
                metrics.series.len() - 1
            });
            metrics.series[at].points.push((metric.step, metric.value));
        }
        metrics.tables = run.metrics_v1.iter().map(Table::of).collect();
        metrics
    }

    pub(super) fn shown(&self) -> Markup {
        html! {
            @if self.series.is_empty() && self.tables.is_empty() {
                p.none { "No metric." }
            }
            div.metrics {
                @for series in self.series.iter().take(MOST_METRICS) { (series.shown()) }
            }
            @if self.series.len() > MOST_METRICS {
                p.none { "And " (self.series.len() - MOST_METRICS) " more." }
            }
            @for table in &self.tables { (table.shown()) }
        }
    }
}

impl Series {
    fn shown(&self) -> Markup {
        let last = self.points.last().map_or(f64::NAN, |(_, value)| *value);
        html! {
            figure.metric {
                figcaption { (self.name) }
                p.total { strong { (figures::number(last)) } }
                @if self.points.len() > 1 {
                    (self.curve())
                    p.none { (self.told()) }
                }
            }
        }
    }

    /// Values by step, or in their order where all are of one step.
    fn points(&self) -> Vec<(f64, f64)> {
        let steps_differ = self
            .points
            .iter()
            .any(|(step, _)| *step != self.points[0].0);
        let stride = self.points.len().div_ceil(MOST_POINTS).max(1);
        let numbered = self.points.iter().enumerate();
        numbered
            .filter(|(at, (_, value))| {
                let kept = at % stride == 0 || at + 1 == self.points.len();
                kept && value.is_finite()
            })
            .map(|(at, (step, value))| {
                let x = if steps_differ {
                    *step as f64
                } else {
                    at as f64
                };
                (x, *value)
            })
            .collect()
    }

    fn curve(&self) -> Markup {
        let mut points = self.points();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (left, right) = range(points.iter().map(|(x, _)| *x));
        let (low, high) = range(points.iter().map(|(_, y)| *y));
        let place = |value: f64, low: f64, high: f64| {
            if high > low {
                (value - low) / (high - low)
            } else {
                0.5
            }
        };
        let line: Vec<String> = points
            .iter()
            .map(|(x, y)| {
                let x = place(*x, left, right) * WIDTH;
                let y = (1.0 - place(*y, low, high)) * HEIGHT;
                format!("{x:.1},{y:.1}")
            })
            .collect();
        html! {
            svg viewBox={ "0 -2 " (WIDTH) " " (HEIGHT + 4.0) } preserveAspectRatio="none" aria-hidden="true" {
                polyline points=(line.join(" ")) vector-effect="non-scaling-stroke" {}
            }
        }
    }

    fn told(&self) -> String {
        let finite = || {
            let values = self.points.iter().map(|(_, value)| *value);
            values.filter(|value| value.is_finite())
        };
        let (low, high) = range(finite());
        format!(
            "{} values from {} to {}",
            self.points.len(),
            figures::number(low),
            figures::number(high)
        )
    }
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}

impl Table {
    fn of(metric: &Value) -> Self {
        let cells = metric["cells"].as_array().map_or(&[][..], Vec::as_slice);
        let first = cells.len().saturating_sub(MOST_ROWS);
        Self {
            name: metric["name"].as_str().unwrap_or_default().to_owned(),
            rows: cells[first..].iter().map(row).collect(),
            more: first,
        }
    }

    fn shown(&self) -> Markup {
        html! {
            figure.metric {
                figcaption { (self.name) }
                @if self.more > 0 {
                    p.none { "The last " (self.rows.len()) " of " (self.rows.len() + self.more) " rows:" }
                }
                ul.rows { @for row in &self.rows { li { (row) } } }
            }
        }
    }
}

/// A row's only cell as it is, others with their names.
fn row(cells: &Value) -> String {
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    match cells.as_object() {
        Some(cells) if cells.len() == 1 => cells.values().map(text).collect(),
        Some(cells) => {
            let cells = cells
                .iter()
                .map(|(name, value)| format!("{name}: {}", text(value)));
            cells.collect::<Vec<String>>().join(", ")
        }
        None => text(cells),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn series(points: &[(i64, f64)]) -> Series {
        Series {
            name: "loss".to_owned(),
            points: points.to_vec(),
        }
    }

    #[test]
    fn a_curve_goes_from_corner_to_corner() {
        let curve = series(&[(0, 1.0), (10, 3.0), (5, 2.0)])
            .curve()
            .into_string();
        assert!(
            curve.contains("points=\"0.0,64.0 160.0,32.0 320.0,0.0\""),
            "{curve}"
        );
    }

    #[test]
    fn what_is_not_finite_is_told_and_not_drawn() {
        let curve = series(&[(0, 1.0), (1, f64::NAN), (2, f64::INFINITY)]);
        assert!(!curve.curve().into_string().contains("NaN"));
        assert_eq!(curve.told(), "3 values from 1 to 1");
    }

    #[test]
    fn a_long_curve_is_thinned_and_keeps_its_end() {
        let points: Vec<(i64, f64)> = (0..10_000).map(|step| (step, step as f64)).collect();
        let points = series(&points).points();
        assert!(points.len() <= MOST_POINTS + 1, "{}", points.len());
        assert_eq!(points.last(), Some(&(9999.0, 9999.0)));
    }

    #[test]
    fn values_of_one_step_are_drawn_in_their_order() {
        let points = series(&[(0, 5.0), (0, 6.0)]).points();
        assert_eq!(points, [(0.0, 5.0), (1.0, 6.0)]);
    }

    #[test]
    fn rows_of_version_1_read_as_text() {
        assert_eq!(row(&json!({"best": "tree"})), "tree");
        assert_eq!(row(&json!({"a": 1, "b": "x"})), "a: 1, b: x");
    }
}
