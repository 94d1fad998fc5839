//! How busy a host is, and the checks of numbers and lists that hosts report.
//! It never rounds: who measures decides what is worth telling.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::MAX_USAGE_ENTRIES;
use crate::shown::Shown;

/// How busy a host is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Processor time in use, percent of all cores.
    #[serde(deserialize_with = "parse_within::<_, 100>")]
    pub cpu: f32,
    /// Memory in use, percent.
    #[serde(deserialize_with = "parse_within::<_, 100>")]
    pub ram: f32,
    /// Root file system in use, percent.
    #[serde(deserialize_with = "parse_within::<_, 100>")]
    pub storage: f32,
    /// Tasks that ran or waited, on average over 1, 5 and 15 minutes.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "parse_load"
    )]
    pub load: Option<[f32; 3]>,
    /// Each mounted file system on a disk of this host, at most [`MAX_USAGE_ENTRIES`].
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "parse_at_most::<_, _, MAX_USAGE_ENTRIES>"
    )]
    pub disks: Vec<DiskUse>,
    /// What is measured to be how warm, at most [`MAX_USAGE_ENTRIES`].
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "parse_at_most::<_, _, MAX_USAGE_ENTRIES>"
    )]
    pub sensors: Vec<Sensor>,
}

/// One mounted file system.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskUse {
    /// Where it is mounted.
    pub mount: Shown<256>,
    /// In use, percent of what people may fill.
    #[serde(deserialize_with = "parse_within::<_, 100>")]
    pub used: f32,
    /// Its size in MiB.
    pub size_mib: u64,
}

/// One sensor.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sensor {
    /// Chip and label, or the thermal zone.
    pub name: Shown<64>,
    /// How warm it is.
    #[serde(deserialize_with = "parse_temperature")]
    pub celsius: f32,
}

/// Reads a number from 0 to `MAX`; others would reach the database as nonsense, or as null when
/// they are not finite.
pub(crate) fn parse_within<'de, D: Deserializer<'de>, const MAX: u32>(
    deserializer: D,
) -> Result<f32, D::Error> {
    let value = f32::deserialize(deserializer)?;
    let most = f64::from(MAX);
    if (0.0..=most).contains(&f64::from(value)) {
        Ok(value)
    } else {
        Err(D::Error::custom(format!(
            "a number from 0 to {MAX} is wanted"
        )))
    }
}

/// Reads a bounded list; a longer one is none of ours.
pub(crate) fn parse_at_most<'de, D, T, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let list = Vec::deserialize(deserializer)?;
    if list.len() > MAX {
        return Err(D::Error::custom(format!(
            "the list has more than {MAX} entries"
        )));
    }
    Ok(list)
}

fn parse_load<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[f32; 3]>, D::Error> {
    let load: Option<[f32; 3]> = Option::deserialize(deserializer)?;
    let is_load = |value: &f32| (0.0..=1_000_000.0).contains(value);
    if load.is_some_and(|load| !load.iter().all(is_load)) {
        return Err(D::Error::custom("a load is from 0 to 1000000"));
    }
    Ok(load)
}

fn parse_temperature<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    let celsius = f32::deserialize(deserializer)?;
    if (-273.15..=1_000.0).contains(&celsius) {
        Ok(celsius)
    } else {
        Err(D::Error::custom(
            "a temperature is from -273.15 to 1000 degrees",
        ))
    }
}
