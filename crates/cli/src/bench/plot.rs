//! SVG plots: panels side by side, both axes logarithmic, one line a series.
//!
//! Costs and sizes span orders of magnitude, and what matters is a ratio: on logarithmic axes
//! equal ratios are equal distances. [`Chart`] is filled by the benches, [`Chart::svg`] draws it.
//! Text is left to the viewer's fonts; none is needed on the host that draws.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::combinators::IntoLogRange;
use plotters::prelude::*;

use crate::exit::{Exit, Failure};

/// Width and height of one panel, in SVG user units.
const PANEL: (u32, u32) = (620, 520);
/// Room for the chart's title.
const TITLE_HEIGHT: u32 = 40;
/// Room for the legend, beside the panels: inside, it would hide points.
const LEGEND_WIDTH: u32 = 190;
/// From one name of the legend to the next.
const LEGEND_STEP: i32 = 22;
/// Ten colours told apart on white, in print, and with the common kinds of colour blindness.
const PALETTE: [RGBColor; 10] = [
    RGBColor(0, 0, 0),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(150, 150, 150),
    RGBColor(140, 86, 75),
    RGBColor(110, 80, 190),
];

/// A picture of one or more panels that share their axes' meaning and extent.
#[derive(Debug)]
pub(crate) struct Chart {
    /// The question the picture answers.
    pub(crate) title: String,
    /// What goes right, with its unit.
    pub(crate) x_label: &'static str,
    /// What goes up, with its unit.
    pub(crate) y_label: &'static str,
    /// Drawn left to right.
    pub(crate) panels: Vec<Panel>,
}

/// One coordinate system.
#[derive(Debug)]
pub(crate) struct Panel {
    /// What sets this panel apart from its neighbours.
    pub(crate) title: String,
    /// Drawn in order; equal places of two panels get equal colours.
    pub(crate) series: Vec<Series>,
}

/// One line with its name in the legend.
#[derive(Debug)]
pub(crate) struct Series {
    /// The name in the legend.
    pub(crate) name: String,
    /// Points `(x, y)`, by rising `x`; what is not positive has no place on a logarithmic axis
    /// and is left out.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Chart {
    /// Draws the chart.
    ///
    /// # Errors
    /// [`Exit::Bug`] if nothing can be drawn; the backend writes to memory and has no other cause.
    pub(crate) fn svg(&self) -> Result<String, Failure> {
        let mut svg = String::new();
        self.draw(&mut svg)
            .map_err(|cause| Failure::new(Exit::Bug, format_args!("plot: {cause}")))?;
        Ok(svg)
    }

    fn draw(&self, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
        let count = u32::try_from(self.panels.len())?.max(1);
        let width = PANEL.0 * count;
        let size = (width + LEGEND_WIDTH, PANEL.1 + TITLE_HEIGHT);
        let root = SVGBackend::with_string(svg, size).into_drawing_area();
        root.fill(&WHITE)?;
        let (body, legend) =
            root.titled(&self.title, ("sans-serif", 22))?.split_horizontally(width);
        for (panel, area) in self.panels.iter().zip(&body.split_evenly((1, count as usize))) {
            self.draw_panel(panel, area)?;
        }
        self.draw_legend(&legend)?;
        root.present()?;
        Ok(())
    }

    /// Names the series of the first panel; those of the others have the same places.
    fn draw_legend(
        &self,
        area: &DrawingArea<SVGBackend<'_>, Shift>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let series = self.panels.first().map_or(&[][..], |panel| &panel.series);
        let mut y = 60;
        for (series, colour) in series.iter().zip(PALETTE.iter().cycle()) {
            area.draw(&PathElement::new([(4, y), (26, y)], colour.stroke_width(3)))?;
            area.draw(&Text::new(series.name.as_str(), (34, y - 6), ("sans-serif", 14)))?;
            y += LEGEND_STEP;
        }
        Ok(())
    }

    fn draw_panel(
        &self,
        panel: &Panel,
        area: &DrawingArea<SVGBackend<'_>, Shift>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let mut context = ChartBuilder::on(area)
            .caption(&panel.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(72)
            .build_cartesian_2d(
                self.extent(|(x, _)| x).log_scale(),
                self.extent(|(_, y)| y).log_scale(),
            )?;
        context
            .configure_mesh()
            .light_line_style(BLACK.mix(0.06))
            .x_desc(self.x_label)
            .y_desc(self.y_label)
            .x_label_formatter(&axis_number)
            .y_label_formatter(&axis_number)
            .draw()?;
        for (series, colour) in panel.series.iter().zip(PALETTE.iter().cycle()) {
            let points: Vec<(f64, f64)> = series.drawable().collect();
            let dots = points.iter().map(|&at| Circle::new(at, 3, colour.filled()));
            context.draw_series(dots)?;
            context.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
        }
        Ok(())
    }

    /// Returns the extent of one coordinate over all panels, widened so that no point lies on the
    /// frame and panels can be compared at a glance.
    fn extent(&self, coordinate: impl Fn((f64, f64)) -> f64) -> Range<f64> {
        let points = self.panels.iter().flat_map(|panel| &panel.series).flat_map(Series::drawable);
        let (low, high) = points
            .map(coordinate)
            .fold((f64::INFINITY, 0.0_f64), |(low, high), at| (low.min(at), high.max(at)));
        if low <= high { low / 1.5..high * 1.5 } else { 1.0..10.0 }
    }
}

impl Series {
    fn drawable(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.points.iter().copied().filter(|&(x, y)| x > 0.0 && y > 0.0 && (x * y).is_finite())
    }
}

/// Prints the number at a grid line without an exponent, `0.01` as well as `10000`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature plotters calls")]
fn axis_number(value: &f64) -> String {
    // There and back, since the text keeps zeros at its end and the number does not.
    let rounded = super::report::significant(*value);
    rounded.parse().map_or(rounded, |number: f64| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: &[(f64, f64)]) -> Chart {
        let panel = |title: &str| Panel {
            title: title.to_owned(),
            series: vec![Series { name: "COPY & co".to_owned(), points: points.to_vec() }],
        };
        Chart {
            title: "cost".to_owned(),
            x_label: "pages",
            y_label: "ns",
            panels: vec![panel("alone"), panel("busy")],
        }
    }

    #[test]
    fn svg_is_one_document_with_all_its_texts() {
        let svg = chart(&[(1.0, 100.0), (512.0, 7.0)]).svg().expect("drawable");
        assert_eq!(svg.matches("<svg ").count(), 1);
        assert!(svg.trim_end().ends_with("</svg>"));
        for text in ["cost", "alone", "busy", "pages", "ns", "COPY &amp; co"] {
            assert!(svg.contains(text), "{text}");
        }
        assert_eq!(svg.matches("<circle ").count(), 4);
    }

    #[test]
    fn points_without_a_logarithm_are_left_out() {
        let svg = chart(&[(1.0, 0.0), (2.0, 5.0), (3.0, f64::NAN)]).svg().expect("drawable");
        assert_eq!(svg.matches("<circle ").count(), 2);
    }

    #[test]
    fn axes_are_labelled_without_superfluous_digits() {
        for (value, text) in [(1.0, "1"), (10.0, "10"), (0.3, "0.3"), (20_000.0, "20000")] {
            assert_eq!(axis_number(&value), text);
        }
    }

    #[test]
    fn an_empty_chart_is_still_a_document() {
        let svg = chart(&[]).svg().expect("drawable");
        assert!(svg.contains("alone"));
    }
}
