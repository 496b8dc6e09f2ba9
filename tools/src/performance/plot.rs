//! The plots of `docs/performance.md`, as SVG.

use plotters::prelude::*;

use super::Figures;

const OURS: RGBColor = RGBColor(0xb7, 0x41, 0x0e);
const LINUX: RGBColor = RGBColor(0x46, 0x6a, 0x9f);
const SIZE: (u32, u32) = (760, 420);

/// A name and values over orders or sizes.
struct Series {
    name: &'static str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

/// A plot with logarithmic counts.
struct Plot<'a> {
    title: &'a str,
    across: &'a str,
    ticks: &'a dyn Fn(&f64) -> String,
    series: Vec<Series>,
}

/// Every plot: the file's name and its text.
pub(super) fn all(figures: &Figures) -> Result<Vec<(&'static str, String)>, String> {
    Ok(vec![("performance-pairs", pairs(figures)?), ("performance-boot", boot(figures)?)])
}

/// The row's values over `at`.
fn points(rows: impl Iterator<Item = (f64, String)>, value: impl Fn(&str) -> Option<f64>) -> Vec<(f64, f64)> {
    rows.filter_map(|(at, row)| Some((at, value(&row)?))).collect()
}

/// Allocate and free one block, by order.
fn pairs(figures: &Figures) -> Result<String, String> {
    let rows = || (0..=10).map(|order| (f64::from(order), format!("pair_o{order}")));
    let drained = || (4..10).map(|order| (f64::from(order), format!("pair_o{order}_drained")));
    let series = vec![
        Series { name: "Linux 6.1", colour: LINUX, points: points(rows(), |row| figures.linux(row)) },
        Series {
            name: "Quire, split and merged",
            colour: RGBColor(0xd9, 0xa0, 0x5b),
            points: points(drained(), |row| figures.ours(row)),
        },
        Series { name: "Quire", colour: OURS, points: points(rows(), |row| figures.ours(row)) },
    ];
    let title = "Allocate and free one block: instructions";
    draw(&Plot { title, across: "order", ticks: &|order| format!("{order:.0}"), series })
}

/// Entry to each phase of the boot, by RAM.
fn boot(figures: &Figures) -> Result<String, String> {
    let sizes = [(6.0, "64M"), (9.0, "512M"), (11.0, "2G")];
    let of = |phase: &'static str| {
        points(sizes.iter().map(|(at, size)| (*at, format!("boot_{size}{phase}"))), |row| figures.ours(row))
    };
    let linux = points(sizes.iter().map(|(at, size)| (*at, format!("boot_{size}"))), |row| figures.linux(row));
    let series = vec![
        Series { name: "Linux 6.1, Memory: line", colour: LINUX, points: linux },
        Series { name: "Quire, Memory: line", colour: OURS, points: of("") },
        Series { name: "Quire, memory map", colour: RGBColor(0xd9, 0xa0, 0x5b), points: of("_memmap") },
        Series { name: "Quire, tables in use", colour: RGBColor(0x7a, 0x9a, 0x5b), points: of("_tables") },
        Series { name: "Quire, memblock", colour: RGBColor(0x8a, 0x8a, 0x8a), points: of("_memblock") },
    ];
    let ticks = |log2: &f64| {
        if *log2 >= 10.0 { format!("{:.0} GiB", (log2 - 10.0).exp2()) } else { format!("{:.0} MiB", log2.exp2()) }
    };
    draw(&Plot { title: "Entry to each phase of the boot: instructions", across: "RAM", ticks: &ticks, series })
}

fn draw(plot: &Plot<'_>) -> Result<String, String> {
    let mut svg = String::new();
    drawn(plot, &mut svg).map_err(|error| format!("{}: {error}", plot.title))?;
    Ok(svg)
}

fn drawn(plot: &Plot<'_>, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let all = || plot.series.iter().flat_map(|series| &series.points);
    let (left, right) = all().fold((f64::MAX, f64::MIN), |(least, most), (at, _)| (least.min(*at), most.max(*at)));
    let (low, high) =
        all().fold((f64::MAX, f64::MIN), |(least, most), (_, value)| (least.min(*value), most.max(*value)));
    if left >= right || low <= 0.0 {
        return Err("nothing to draw".into());
    }
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(plot.title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(70)
        .build_cartesian_2d(left..right, (low / 1.5..high * 1.5).log_scale())?;
    let counts = |value: &f64| super::grouped(value.round());
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(plot.across)
        .x_labels(11)
        .x_label_formatter(plot.ticks)
        .y_label_formatter(&counts)
        .light_line_style(WHITE);
    mesh.draw()?;
    for series in &plot.series {
        let style = series.colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(series.points.iter().copied(), style).point_size(3))?
            .label(series.name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], style));
    }
    let mut legend = chart.configure_series_labels();
    legend.position(SeriesLabelPosition::UpperLeft).background_style(WHITE.mix(0.85)).border_style(BLACK.mix(0.3));
    legend.draw()?;
    area.present()?;
    Ok(())
}
