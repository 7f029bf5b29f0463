//! A chart of the drain: throughput and CPU of each pipeline, as SVG that needs no font of its own.

use std::fmt::Write;

use crate::bench::Row;

/// Sizes in units of the picture.
const WIDTH: usize = 860;
const NAMES: usize = 200;
const BAR: usize = 18;
const LINE: usize = 24;
const LONGEST: usize = 480;
/// What CPU is spent by, and its colour.
const PARTS: [(&str, &str); 4] =
    [("pipeline", "#2f6f9f"), ("RabbitMQ", "#d98032"), ("Redis", "#b5423c"), ("PostgreSQL", "#6b7fa8")];

/// A bar of several parts.
struct Bar {
    name: String,
    parts: Vec<f64>,
}

/// The picture.
pub(crate) fn drain(rows: &[Row]) -> String {
    let name = |row: &Row| format!("{}, {}", row.of, row.pipeline);
    let rates: Vec<Bar> = rows.iter().map(|row| Bar { name: name(row), parts: vec![row.median.messages_per_second] }).collect();
    let costs = rows.iter().map(|row| {
        let cpu = row.median.cpu;
        let servers = [cpu.rabbitmq, cpu.redis, cpu.postgres].map(Option::unwrap_or_default);
        Bar { name: name(row), parts: [&[cpu.pipeline][..], &servers].concat() }
    });
    let (mut body, mut y) = (String::new(), 0);
    chart(&mut body, &mut y, "drain: messages a second", &rates);
    chart(&mut body, &mut y, "drain: µs of CPU a message", &costs.collect::<Vec<_>>());
    legend(&mut body, &mut y);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{y}\" fill=\"white\"/>\n{body}</svg>\n"
    )
}

fn chart(body: &mut String, y: &mut usize, title: &str, bars: &[Bar]) {
    *y += 2 * LINE;
    text(body, 12, *y, title, " font-weight=\"bold\"");
    *y += LINE / 2;
    let sum = |bar: &Bar| bar.parts.iter().sum::<f64>();
    let most = bars.iter().map(sum).fold(f64::MIN_POSITIVE, f64::max);
    for bar in bars {
        text(body, 12, *y + BAR - 4, &bar.name, "");
        let mut x = NAMES as f64;
        for (part, (_, colour)) in bar.parts.iter().zip(PARTS) {
            let width = part / most * LONGEST as f64;
            line(body, &format!("<rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>"));
            x += width;
        }
        let shown = if most < 10_000.0 { format!("{:.1}", sum(bar)) } else { format!("{:.0}", sum(bar)) };
        text(body, x as usize + 6, *y + BAR - 4, &shown, "");
        *y += LINE;
    }
}

fn legend(body: &mut String, y: &mut usize) {
    *y += LINE;
    for (index, (name, colour)) in PARTS.iter().enumerate() {
        let x = NAMES + index * 120;
        line(body, &format!("<rect x=\"{x}\" y=\"{y}\" width=\"{BAR}\" height=\"{BAR}\" fill=\"{colour}\"/>"));
        text(body, x + LINE, *y + BAR - 4, name, "");
    }
    *y += 2 * LINE;
}

fn text(body: &mut String, x: usize, y: usize, text: &str, more: &str) {
    line(body, &format!("<text x=\"{x}\" y=\"{y}\"{more}>{text}</text>"));
}

fn line(body: &mut String, line: &str) {
    writeln!(body, "{line}").expect("a string takes every line");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::row;
    use crate::case::{Case, Runner};
    use crate::figures::{Cpu, Figures};
    use crate::load::QueueType;

    #[test]
    fn every_pipeline_has_a_bar_and_the_longest_has_the_whole_length() {
        let leg = |rate: f64| Figures {
            messages_per_second: rate,
            cpu: Cpu { pipeline: 10.0, rabbitmq: Some(20.0), redis: None, postgres: Some(10.0) },
            peak_megabytes: 50.0,
        };
        let case = |runner| Case::new(runner, QueueType::Classic, 1);
        let rows = [
            row("classic", &case(Runner::Native), vec![leg(20_000.0)]),
            row("classic", &case(Runner::Host), vec![leg(10_000.0)]),
        ];
        let svg = drain(&rows);
        assert!(svg.contains("width=\"480.0\"") && svg.contains("width=\"240.0\""), "{svg}");
        assert_eq!(svg.matches("classic, host").count(), 2, "{svg}");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{svg}");
    }
}
