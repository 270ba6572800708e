//! Charts as inline SVG. Their colours are names for the style sheet, which has others for a dark page.

use maud::{Markup, PreEscaped};
use plotters::prelude::*;

/// A line of a chart.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) ink: Ink,
    pub(super) points: Vec<(f64, f64)>,
}

/// Colours of lines; `style.css` has the same for dark pages.
#[derive(Clone, Copy)]
pub(super) enum Ink {
    Recorded,
    Here,
    Third,
    Fourth,
    Fifth,
}

impl Ink {
    const fn color(self) -> RGBColor {
        match self {
            Self::Recorded => RGBColor(0x6b, 0x72, 0x80),
            Self::Here => RGBColor(0x1d, 0x4e, 0xd8),
            Self::Third => RGBColor(0xb4, 0x53, 0x09),
            Self::Fourth => RGBColor(0x04, 0x78, 0x57),
            Self::Fifth => RGBColor(0x9d, 0x17, 0x4d),
        }
    }

    /// The class of a legend's swatch.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Here => "here",
            Self::Third => "third",
            Self::Fourth => "fourth",
            Self::Fifth => "fifth",
        }
    }
}

/// Lines of the grid; `style.css` has another colour for dark pages.
const GRID: RGBColor = RGBColor(0xd1, 0xd5, 0xdb);

/// A mark on the x axis: breaks, lost connections, stalls.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    pub(super) at: f64,
    pub(super) ink: Ink,
}

/// What a chart shows. Labels are ours: they are not escaped again.
pub(super) struct Chart<'a> {
    pub(super) lines: &'a [Line],
    pub(super) marks: &'a [Mark],
    /// What a number on an axis is called.
    pub(super) x_label: fn(f64) -> String,
    pub(super) y_label: fn(f64) -> String,
    /// The y axis goes by powers of ten.
    pub(super) log: bool,
}

const WIDTH: u32 = 460;
const HEIGHT: u32 = 170;

impl Chart<'_> {
    /// The chart; nothing where there is nothing to show, or where it cannot be drawn.
    pub(super) fn draw(&self) -> Markup {
        let mut svg = String::new();
        let drawn = self.draw_to(SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)));
        match drawn {
            Ok(()) => PreEscaped(svg),
            // It writes to a text: what fails is a range without numbers.
            Err(_) => PreEscaped(String::new()),
        }
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.lines
            .iter()
            .flat_map(|line| line.points.iter().copied())
    }

    fn draw_to(&self, backend: SVGBackend<'_>) -> Result<(), Box<dyn std::error::Error + '_>> {
        let root = backend.into_drawing_area();
        let xs = || self.points().map(|(x, _)| x);
        let ys = || self.points().map(|(_, y)| y);
        let (left, right) = (xs().fold(f64::MAX, f64::min), xs().fold(0.0, f64::max));
        let top = ys().fold(0.0, f64::max);
        if left > right {
            return Ok(());
        }
        let right = if right > left { right } else { left + 1.0 };
        let mut builder = ChartBuilder::on(&root);
        builder
            .margin(4)
            .margin_right(14)
            .x_label_area_size(22)
            .y_label_area_size(58);
        if self.log {
            let bottom = ys().filter(|y| *y > 0.0).fold(top.max(1.0), f64::min);
            let range = (bottom..top.max(bottom * 10.0)).log_scale();
            let mut chart = builder.build_cartesian_2d(left..right, range)?;
            mesh!(self, chart);
            for line in self.lines {
                let points = line.points.iter().map(|(x, y)| (*x, y.max(bottom)));
                chart.draw_series(LineSeries::new(points, line.ink.color().stroke_width(2)))?;
            }
        } else {
            let top = if top > 0.0 { top * 1.05 } else { 1.0 };
            let mut chart = builder.build_cartesian_2d(left..right, 0.0..top)?;
            mesh!(self, chart);
            for mark in self.marks {
                let line = [(mark.at, 0.0), (mark.at, top)];
                chart.draw_series(LineSeries::new(line, mark.ink.color().mix(0.5)))?;
            }
            for line in self.lines {
                let points = line.points.iter().copied();
                chart.draw_series(LineSeries::new(points, line.ink.color().stroke_width(2)))?;
            }
        }
        root.present()?;
        Ok(())
    }
}

/// The grid and its labels: its type depends on that of the axes.
macro_rules! mesh {
    ($self:ident, $chart:ident) => {
        $chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_labels(6)
            .y_labels(5)
            .x_label_formatter(&|x| ($self.x_label)(*x))
            .y_label_formatter(&|y| ($self.y_label)(*y))
            .label_style(("sans-serif", 11))
            .draw()?
    };
}
use mesh;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_without_numbers_is_left_out_and_one_point_is_drawn() {
        let chart = |points: Vec<(f64, f64)>, log| {
            let lines = [Line {
                name: "a",
                ink: Ink::Here,
                points,
            }];
            let chart = Chart {
                lines: &lines,
                marks: &[],
                x_label: |x| x.to_string(),
                y_label: |y| y.to_string(),
                log,
            };
            chart.draw().into_string()
        };
        for log in [false, true] {
            assert!(!chart(Vec::new(), log).contains("polyline"));
            assert!(chart(vec![(0.0, 5.0)], log).starts_with("<svg"));
            let two = chart(vec![(0.0, 5.0), (1.0, 500.0)], log);
            assert!(two.contains("<polyline"), "{two}");
        }
    }
}
