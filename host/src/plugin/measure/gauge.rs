//! What one instance has cost, read before and after.

/// Bytes that were copied over the boundary, host functions included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From the host into the instance's memory.
    pub in_bytes: u64,
    /// From the instance's memory to the host.
    pub out_bytes: u64,
}

impl Traffic {
    /// One call: what it brought, and what it took away.
    pub(in crate::plugin) fn add(&mut self, in_bytes: usize, out_bytes: usize) {
        self.in_bytes = self.in_bytes.saturating_add(in_bytes as u64);
        self.out_bytes = self.out_bytes.saturating_add(out_bytes as u64);
    }
}

/// What one instance has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauge {
    /// Calls that gave it messages.
    pub calls: u64,
    /// Instructions of WebAssembly that it ran, where its engine counts them.
    pub instructions: Option<u64>,
    /// What crossed the boundary.
    pub traffic: Traffic,
    /// Its linear memory, in bytes: the most that it ever had, because memory never shrinks.
    pub memory_bytes: u64,
}

impl Gauge {
    /// What came on top of an earlier reading of the same instance; memory is the whole.
    pub(super) fn since(self, before: Self) -> Self {
        let instructions = self.instructions.zip(before.instructions);
        Self {
            calls: self.calls.saturating_sub(before.calls),
            instructions: instructions.map(|(now, before)| now.saturating_sub(before)),
            traffic: Traffic {
                in_bytes: self.traffic.in_bytes.saturating_sub(before.traffic.in_bytes),
                out_bytes: self.traffic.out_bytes.saturating_sub(before.traffic.out_bytes),
            },
            memory_bytes: self.memory_bytes,
        }
    }
}
