//! What is done to whom, and when: the same seed gives the same script.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

/// A server that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Server {
    RabbitMq,
    Redis,
    Postgres,
}

impl Server {
    pub(crate) const ALL: [Self; 3] = [Self::RabbitMq, Self::Redis, Self::Postgres];
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// SIGKILL, and a start after a while.
    Kill(Server),
    /// A clean stop, and a start after a while.
    Stop(Server),
    /// SIGSTOP for a while: connections stay open, and nobody answers.
    Pause(Server),
    /// Every connection of the host to it ends.
    Cut(Server),
    /// The wire between the host and it swallows everything for a while.
    Silence(Server),
    /// The wire is slow for a while.
    Slow(Server),
    /// SIGKILL of the host, and a start after a while.
    KillHost,
    /// SIGTERM of the host, and a start after a while.
    StopHost,
    /// SIGSTOP of the host for a while: its connections stay open, and it answers nobody.
    PauseHost,
    /// Another validator is saved.
    SwapValidator,
    /// Another cipher is saved.
    SwapCipher,
    /// Another setting is saved.
    ChangeSetting,
}

impl Fault {
    /// Whether it can leave it open if something was broadcast, or acknowledged: the host dies, or looks so long for an answer that it takes it
    /// for late, or a connection to the broker or to Redis does or answers too late. A lost database, a swap and a clean stop cannot: what they made twice would be a defect.
    pub(crate) fn can_double(self) -> bool {
        match self {
            Self::Kill(server) | Self::Stop(server) | Self::Pause(server) | Self::Cut(server) | Self::Silence(server) => {
                server != Server::Postgres
            }
            Self::KillHost | Self::PauseHost => true,
            Self::Slow(_) | Self::StopHost | Self::SwapValidator | Self::SwapCipher | Self::ChangeSetting => false,
        }
    }

    /// Whether it goes on until it is healed; the others are over as soon as they have happened.
    pub(crate) fn lasts(self) -> bool {
        !matches!(self, Self::Cut(_) | Self::SwapValidator | Self::SwapCipher | Self::ChangeSetting)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(server) => write!(f, "kill -9 of {server:?}"),
            Self::Stop(server) => write!(f, "stop of {server:?}"),
            Self::Pause(server) => write!(f, "SIGSTOP of {server:?}"),
            Self::Cut(server) => write!(f, "connections to {server:?} cut"),
            Self::Silence(server) => write!(f, "wire to {server:?} silent"),
            Self::Slow(server) => write!(f, "wire to {server:?} slow"),
            Self::KillHost => f.write_str("kill -9 of the host"),
            Self::StopHost => f.write_str("stop of the host"),
            Self::PauseHost => f.write_str("SIGSTOP of the host"),
            Self::SwapValidator => f.write_str("swap of the validator"),
            Self::SwapCipher => f.write_str("swap of the cipher"),
            Self::ChangeSetting => f.write_str("change of a setting"),
        }
    }
}

/// Faults that begin together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Quiet before it.
    pub(crate) after: Duration,
    pub(crate) faults: Vec<Fault>,
    /// How long they last.
    pub(crate) lasts: Duration,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.faults.iter().map(ToString::to_string).collect();
        write!(f, "{} for {:.1}s", names.join(", and "), self.lasts.as_secs_f64())
    }
}

/// How far a run goes through its script.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extent {
    /// So many steps.
    Steps(usize),
    /// As many as begin within this time.
    Time(Duration),
}

impl Extent {
    /// Whether it ends before the step of this number, at this time.
    pub(crate) fn is_over(self, number: usize, elapsed: Duration) -> bool {
        match self {
            Self::Steps(steps) => number >= steps,
            Self::Time(time) => elapsed >= time,
        }
    }
}

/// The lines of a script, as a run says them. What ending and starting servers takes comes on top of their times.
pub(crate) fn lines(seed: u64, extent: Extent) -> Vec<String> {
    let (mut lines, mut elapsed) = (Vec::new(), Duration::ZERO);
    for (number, step) in Script::new(seed).enumerate() {
        if extent.is_over(number, elapsed) {
            break;
        }
        lines.push(line(elapsed + step.after, &step));
        elapsed += step.after + step.lasts;
    }
    lines
}

/// One step that begins at a time.
pub(crate) fn line(at: Duration, step: &Step) -> String {
    format!("{:>7.1}s  {step}", at.as_secs_f64())
}

/// The endless script of a seed.
pub(crate) struct Script {
    random: Rng,
}

impl Script {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Rng::with_seed(seed) }
    }

    fn fault(&mut self) -> Fault {
        let server = Server::ALL.get(self.random.usize(..Server::ALL.len())).copied().unwrap_or(Server::RabbitMq);
        match self.random.u8(..12) {
            0 => Fault::Kill(server),
            1 => Fault::Stop(server),
            2 => Fault::Pause(server),
            3 => Fault::Cut(server),
            4 => Fault::Silence(server),
            5 => Fault::Slow(server),
            6 | 7 => Fault::KillHost,
            8 => Fault::StopHost,
            9 if self.random.bool() => Fault::SwapValidator,
            9 => Fault::SwapCipher,
            10 => Fault::PauseHost,
            _ => Fault::ChangeSetting,
        }
    }

    fn between(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.random.u64(least..=most))
    }
}

impl Iterator for Script {
    type Item = Step;

    /// Every fifth step or so has two faults at once, of two kinds.
    fn next(&mut self) -> Option<Step> {
        let mut faults = vec![self.fault()];
        if self.random.u8(..5) == 0 {
            let more = self.fault();
            if !faults.iter().any(|fault| excludes(*fault, more)) {
                faults.push(more);
            }
        }
        Some(Step { after: self.between(500, 3000), faults, lasts: self.between(500, 6000) })
    }
}

/// Whether both are one, or do something to the same process, which can only be dead once.
fn excludes(one: Fault, other: Fault) -> bool {
    let process = |fault: Fault| match fault {
        Fault::Kill(server) | Fault::Stop(server) | Fault::Pause(server) => Some(Some(server)),
        Fault::KillHost | Fault::StopHost | Fault::PauseHost => Some(None),
        _ => None,
    };
    one == other || (process(one).is_some() && process(one) == process(other))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_is_a_script_and_every_fault_comes_up() {
        let steps = |seed| Script::new(seed).take(600).collect::<Vec<_>>();
        assert_eq!(steps(7), steps(7));
        assert_ne!(steps(7), steps(8));
        let seen: BTreeSet<Fault> = steps(7).into_iter().flat_map(|step| step.faults).collect();
        assert_eq!(seen.len(), 6 * Server::ALL.len() + 6, "{seen:?}");
    }

    #[test]
    fn the_seeds_of_the_short_runs_try_every_server_and_the_host() {
        let short = |seed| Script::new(seed).take(12).flat_map(|step| step.faults);
        let faults: BTreeSet<Fault> = short(1).chain(short(236)).collect();
        for expected in [
            Fault::Kill(Server::RabbitMq),
            Fault::Stop(Server::RabbitMq),
            Fault::Cut(Server::RabbitMq),
            Fault::Stop(Server::Redis),
            Fault::Pause(Server::Redis),
            Fault::Pause(Server::Postgres),
            Fault::Cut(Server::Postgres),
            Fault::KillHost,
            Fault::StopHost,
            Fault::PauseHost,
        ] {
            assert!(faults.contains(&expected), "{expected}");
        }
    }

    #[test]
    fn a_list_goes_as_far_as_a_run_and_begins_each_step_where_the_one_before_it_ends() {
        let steps: Vec<Step> = Script::new(7).take(2).collect();
        let [first, second] = steps.as_slice() else { panic!("{steps:?}") };
        let two = lines(7, Extent::Steps(2));
        assert_eq!(two, [line(first.after, first), line(first.after + first.lasts + second.after, second)]);
        let minute = lines(7, Extent::Time(Duration::from_secs(60)));
        assert!(minute.len() > 6 && minute.starts_with(&two), "{minute:?}");
    }
}
