//! Percentiles, tables, and what to know about the machine beside them.

use std::path::Path;
use std::time::Duration;

/// Durations of one thing that was measured, in whole microseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures(Vec<u64>);

impl Figures {
    pub(crate) fn push(&mut self, duration: Duration) {
        self.0.push(u64::try_from(duration.as_micros()).unwrap());
    }

    /// Nearest-rank percentiles 50, 90 and 99.
    pub(crate) fn percentiles(&self) -> [i64; 3] {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        [50, 90, 99].map(|percent| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            i64::try_from(sorted[rank - 1]).unwrap()
        })
    }
}

/// Prints one table; on the right, each row as what it adds to the row named `floor`, percentile by percentile.
pub(crate) fn print_table(title: &str, rows: &[(&str, Figures)], floor: &str) {
    let base = rows.iter().find(|(name, _)| *name == floor).map(|(_, figures)| figures.percentiles());
    let columns = |cells: [String; 3]| cells.map(|cell| format!("{cell:>8}")).concat();
    let names = ["p50", "p90", "p99"].map(str::to_owned);
    println!("\n{:<60}{:>25}", format!("{title}, µs"), format!("over {floor}"));
    println!("{:<32}{}     {}", "", columns(names.clone()), columns(names));
    for (name, figures) in rows {
        let own = figures.percentiles();
        let over = base
            .filter(|_| *name != floor)
            .map_or_else(String::new, |base| columns([0, 1, 2].map(|i| format!("{:+}", own[i] - base[i]))));
        println!("{}", format!("{name:<32}{}     {over}", columns(own.map(|us| us.to_string()))).trim_end());
    }
}

/// Name of the filesystem that a directory is on, so that "disk" is not taken on faith.
pub(crate) fn filesystem(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let holding = fields.filter(|f| f.len() > 2 && dir.starts_with(f[1])).max_by_key(|f| f[1].len());
    holding.map_or_else(|| "unknown filesystem".into(), |f| f[2].to_owned())
}

/// The three load averages of the machine (1, 5 and 15 minutes).
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let three: Vec<&str> = text.split(' ').take(3).collect();
    if three.len() == 3 { three.join(" ") } else { "unknown".into() }
}
