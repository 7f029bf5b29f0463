//! What a leg shows, medians of it, and how they are written.

use serde::Serialize;

/// What one leg showed.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) messages_per_second: f64,
    pub(crate) cpu: Cpu,
    /// Most that the pipeline's processes ever had resident, together.
    pub(crate) peak_megabytes: f64,
}

/// Microseconds of CPU a message. Of servers that somebody else runs nothing is known.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cpu {
    pub(crate) pipeline: f64,
    pub(crate) rabbitmq: Option<f64>,
    pub(crate) redis: Option<f64>,
    pub(crate) postgres: Option<f64>,
}

/// Columns of a row that begins with what the figures are of.
pub(crate) const COLUMNS: &str = "msg/s | CPU µs/message | RabbitMQ | Redis | PostgreSQL | peak MB |";

/// A table's head: the columns before the figures, and theirs.
pub(crate) fn head(before: &[&str]) -> String {
    let columns = before.len() + 6;
    format!("| {} | {COLUMNS}\n|{}", before.join(" | "), " --- |".repeat(columns))
}

/// The middle of several values, or what is between the two middles; `NaN` of none.
pub(crate) fn middle(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    f64::midpoint(at(values.len().saturating_sub(1) / 2), at(values.len() / 2))
}

/// The median of each figure of several legs.
pub(crate) fn median(legs: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| middle(legs.iter().map(figure));
    let known = |figure: fn(&Figures) -> Option<f64>| {
        let known: Vec<f64> = legs.iter().filter_map(figure).collect();
        (!known.is_empty()).then(|| middle(known))
    };
    Figures {
        messages_per_second: of(|leg| leg.messages_per_second),
        cpu: Cpu {
            pipeline: of(|leg| leg.cpu.pipeline),
            rabbitmq: known(|leg| leg.cpu.rabbitmq),
            redis: known(|leg| leg.cpu.redis),
            postgres: known(|leg| leg.cpu.postgres),
        },
        peak_megabytes: of(|leg| leg.peak_megabytes),
    }
}

impl Figures {
    /// Ratios of throughput and memory, and differences of CPU, in the columns of a table.
    pub(crate) fn over(&self, other: &Self) -> String {
        let ratio = |of: fn(&Self) -> f64| format!("{:.2}", of(self) / of(other));
        let more = |of: fn(&Self) -> Option<f64>| match of(self).zip(of(other)) {
            Some((this, that)) => format!("{:+.1}", this - that),
            None => "-".to_owned(),
        };
        [
            ratio(|figures| figures.messages_per_second),
            more(|figures| Some(figures.cpu.pipeline)),
            more(|figures| figures.cpu.rabbitmq),
            more(|figures| figures.cpu.redis),
            more(|figures| figures.cpu.postgres),
            ratio(|figures| figures.peak_megabytes),
        ]
        .join(" | ")
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} | {} | {:.0}", self.messages_per_second, self.cpu, self.peak_megabytes)
    }
}

impl std::fmt::Display for Cpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = |micros: Option<f64>| micros.map_or_else(|| "-".to_owned(), |micros| format!("{micros:.1}"));
        let [rabbitmq, redis, postgres] = [self.rabbitmq, self.redis, self.postgres].map(known);
        write!(f, "{:.1} | {rabbitmq} | {redis} | {postgres}", self.pipeline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(messages_per_second: f64, rabbitmq: Option<f64>) -> Figures {
        let cpu = Cpu { pipeline: 10.0, rabbitmq, redis: None, postgres: Some(7.5) };
        Figures { messages_per_second, cpu, peak_megabytes: 50.0 }
    }

    #[test]
    fn a_median_is_the_middle_or_between_the_two_middles() {
        let legs = [9.0, 1.0, 2.0, 4.0].map(|value| figures(value, Some(value)));
        let shown = median(&legs);
        assert_eq!((shown.messages_per_second.to_string(), shown.cpu.rabbitmq), ("3".to_owned(), Some(3.0)));
        assert_eq!(median(&legs[..3]).messages_per_second.to_string(), "2");
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        assert_eq!(figures(1000.0, None).to_string(), "1000 | 10.0 | - | - | 7.5 | 50");
        assert_eq!(figures(1000.0, None).over(&figures(2000.0, Some(1.0))), "0.50 | +0.0 | - | - | +0.0 | 1.00");
    }

    #[test]
    fn a_head_has_a_line_below_each_column() {
        let head = head(&["queue", "pipeline"]);
        let bars: Vec<usize> = head.lines().map(|line| line.matches('|').count()).collect();
        assert_eq!(bars, [9, 9]);
    }
}
