//! The sensors that say how warm this host is, as the kernel shows them in `/sys`.
//! It starts no program, and a sensor that does not answer is left out.

use std::fs;
use std::path::Path;

use hidps_wire::{MAX_USAGE_ENTRIES, Sensor, Shown};

/// The sensors of chips, or where there are none the thermal zones.
pub(super) fn read_sensors(sys: &Path) -> Vec<Sensor> {
    let mut sensors = read_chips(&sys.join("class/hwmon"));
    if sensors.is_empty() {
        sensors = read_zones(&sys.join("class/thermal"));
    }
    sensors.sort_by(|a, b| a.name.cmp(&b.name));
    sensors.truncate(MAX_USAGE_ENTRIES);
    sensors
}

fn read_chips(hwmon: &Path) -> Vec<Sensor> {
    let mut sensors = Vec::new();
    for chip in list(hwmon) {
        let chip = hwmon.join(chip);
        let name = read_word(&chip.join("name")).unwrap_or_default();
        for input in list(&chip) {
            let Some(sensor) = input
                .strip_suffix("_input")
                .filter(|s| s.starts_with("temp"))
            else {
                continue;
            };
            let label = read_word(&chip.join(format!("{sensor}_label")));
            let label = label.unwrap_or_else(|| sensor.to_owned());
            sensors.extend(read_celsius(&chip.join(&input), &format!("{name} {label}")));
        }
    }
    sensors
}

fn read_zones(thermal: &Path) -> Vec<Sensor> {
    let zones = list(thermal).into_iter();
    zones
        .filter(|zone| zone.starts_with("thermal_zone"))
        .filter_map(|zone| {
            let folder = thermal.join(&zone);
            let kind = read_word(&folder.join("type")).unwrap_or_default();
            read_celsius(&folder.join("temp"), &format!("{kind} {zone}"))
        })
        .collect()
}

/// A file with thousandths of a degree. Sensors that are not connected say absurd things.
fn read_celsius(file: &Path, name: &str) -> Option<Sensor> {
    let thousandths: f32 = read_word(file)?.parse().ok()?;
    let celsius = (thousandths / 100.0).round() / 10.0;
    (-100.0..=250.0).contains(&celsius).then(|| Sensor {
        name: Shown::new(name.trim()),
        celsius,
    })
}

/// The names in a directory, in order; a host has some dozens of sensors at most.
fn list(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.take(1_000).collect();
    names.sort_unstable();
    names
}

fn read_word(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
        let sys = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = sys.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        sys
    }

    #[test]
    fn chips_are_told_by_chip_and_label_without_those_that_are_absurd() {
        let sys = host(&[
            ("class/hwmon/hwmon0/name", "coretemp\n"),
            ("class/hwmon/hwmon0/temp1_input", "54550\n"),
            ("class/hwmon/hwmon0/temp1_label", "Core 0\n"),
            ("class/hwmon/hwmon0/temp2_input", "-274000\n"),
            ("class/hwmon/hwmon0/temp3_input", "warm\n"),
            ("class/hwmon/hwmon0/fan1_input", "1200\n"),
            ("class/thermal/thermal_zone0/temp", "40000\n"),
        ]);

        let sensors = read_sensors(sys.path());

        assert_eq!(sensors.len(), 1, "{sensors:?}");
        assert_eq!(sensors[0].name.as_str(), "coretemp Core 0");
        assert!((sensors[0].celsius - 54.6).abs() < 0.001);
    }

    #[test]
    fn without_chips_the_thermal_zones_are_told() {
        let sys = host(&[
            ("class/thermal/thermal_zone0/temp", "40000\n"),
            ("class/thermal/thermal_zone0/type", "acpitz\n"),
            ("class/thermal/cooling_device0/temp", "1\n"),
        ]);

        let sensors = read_sensors(sys.path());

        assert_eq!(sensors.len(), 1, "{sensors:?}");
        assert_eq!(sensors[0].name.as_str(), "acpitz thermal_zone0");
    }

    #[test]
    fn a_host_without_sensors_has_none() {
        assert_eq!(read_sensors(Path::new("/nonexistent")), []);
    }
}
