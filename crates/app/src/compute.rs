//! `[compute]` of the configuration: on what nets compute and how long they stay loaded, and what the kernels of the CPU are told, once.

#[cfg(feature = "neural")]
use std::time::Duration;

use contract::Complaint;
#[cfg(feature = "neural")]
use layers::kernels::{Config as Kernels, Profile};
use serde::Deserialize;

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ComputeConfig {
    /// Of the one pool that all nets share; default: as many as the machine has cores for us.
    pub threads: Option<u32>,
    /// MiB that weights may take beyond their files' size, in the forms that multiply fastest; default: half of the machine's memory.
    pub transformed_mib: Option<u64>,
    /// `strict` (default) or `fast`: products of bf16 values where their error is bounded.
    pub profile: ProfileChoice,
    /// `cpu` (default) or `cuda`: where nets compute.
    pub device: Option<DeviceChoice>,
    /// Of the cards, as NVIDIA's tools count them: a worker on each; default: the first.
    pub gpus: Option<Vec<u32>>,
    /// Seconds without work after which the nets leave memory; default 900, 0: never.
    pub idle_unload_seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProfileChoice {
    #[default]
    Strict,
    Fast,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceChoice {
    Cpu,
    Cuda,
}

#[cfg(feature = "neural")]
impl From<ProfileChoice> for Profile {
    fn from(choice: ProfileChoice) -> Self {
        match choice {
            ProfileChoice::Strict => Profile::Strict,
            ProfileChoice::Fast => Profile::Fast,
        }
    }
}

#[cfg(feature = "neural")]
const IDLE_UNLOAD: Duration = Duration::from_secs(900);

/// Far more than pay: each thread holds memory of its own.
const MOST_THREADS: u64 = 1024;
const MOST_MIB: u64 = 1_000_000_000;

impl ComputeConfig {
    pub fn check(&self) -> Result<(), Complaint> {
        let rows = [
            ("threads", self.threads.map(u64::from), 1, MOST_THREADS, "leave it out for one on each core"),
            ("transformed_mib", self.transformed_mib, 0, MOST_MIB, "leave it out for half of the memory"),
        ];
        for (name, value, least, most, remedy) in rows {
            if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
                let message = format!("compute.{name} is {value}, it can be {least} to {most}");
                return Err(Complaint::new("bad_config", message, remedy));
            }
        }
        if let Some(gpus) = &self.gpus {
            let twice = gpus.iter().enumerate().any(|(at, gpu)| gpus[..at].contains(gpu));
            if gpus.is_empty() || twice {
                let message = format!("compute.gpus is {gpus:?}, it must name cards, each once");
                return Err(Complaint::new("bad_config", message, "name one, as in [0], or leave it out"));
            }
        }
        Ok(())
    }

    #[cfg(feature = "neural")]
    pub fn threads(&self) -> usize {
        match self.threads {
            Some(threads) => threads as usize,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    #[cfg(feature = "neural")]
    pub fn idle_unload(&self) -> Option<Duration> {
        let after = self.idle_unload_seconds.map_or(IDLE_UNLOAD, Duration::from_secs);
        (!after.is_zero()).then_some(after)
    }

    /// To be called once, before the first net is loaded.
    #[cfg(feature = "neural")]
    pub fn tell(&self, profile: Profile) -> Result<(), Complaint> {
        let threads = self.threads();
        let budget = match self.transformed_mib {
            Some(mib) => usize::try_from(mib.saturating_mul(1 << 20)).unwrap_or(usize::MAX),
            None => memory() / 2,
        };
        let config = Kernels {
            threads,
            profile,
            weight_budget: budget,
            free_memory: Some(layers::free_memory::free),
            ..Kernels::default()
        };
        layers::configure(config).map_err(|error| {
            Complaint::new("no_kernels", error.to_string(), "free some memory, or lower compute.threads")
        })
    }
}

/// Bytes of the machine's memory.
#[cfg(feature = "neural")]
fn memory() -> usize {
    let told = rustix::system::sysinfo();
    let bytes = told.totalram.saturating_mul(u64::from(told.mem_unit.max(1)));
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_have_limits() {
        let check = |threads, transformed_mib| {
            ComputeConfig { threads, transformed_mib, ..ComputeConfig::default() }
                .check()
                .map_err(|c| c.message)
        };
        for (threads, mib) in [(None, None), (Some(1), Some(0)), (Some(1024), Some(MOST_MIB))] {
            assert_eq!(check(threads, mib), Ok(()));
        }
        for (threads, mib, told) in [
            (Some(0), None, "compute.threads is 0, it can be 1 to 1024"),
            (Some(1025), None, "compute.threads is 1025"),
            (None, Some(MOST_MIB + 1), "compute.transformed_mib is 1000000001"),
        ] {
            let message = check(threads, mib).unwrap_err();
            assert!(message.contains(told), "{message}");
        }
    }

    #[test]
    #[cfg(feature = "neural")]
    fn the_machine_has_memory() {
        assert!(memory() > 1 << 28);
    }
}
