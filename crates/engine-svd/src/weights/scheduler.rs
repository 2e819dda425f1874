//! scheduler/scheduler_config.json. This engine steps as `EulerDiscreteScheduler` does with the sigmas of Karras et al. (2022) and v-prediction;
//! a config that asks for anything else is refused. What has no effect then (betas, spacing, offset) is not read.

use serde::Deserialize;

/// Between which sigmas a clip is denoised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SigmaRange {
    pub sigma_min: f64,
    pub sigma_max: f64,
}

impl SigmaRange {
    /// Of every published model.
    pub const SVD: Self = Self { sigma_min: 0.002, sigma_max: 700.0 };

    /// text: of the file. The error is for people, and names the key and its value.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        let config: Config = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        for (key, value, wanted) in [
            ("_class_name", &config.class_name, "EulerDiscreteScheduler"),
            ("prediction_type", &config.prediction_type, "v_prediction"),
            ("timestep_type", &config.timestep_type, "continuous"),
            ("final_sigmas_type", &config.final_sigmas_type, "zero"),
        ] {
            if value != wanted {
                return Err(format!("{key} is {value}, only {wanted} is known"));
            }
        }
        for (key, value, wanted) in [
            ("use_karras_sigmas", config.use_karras_sigmas, true),
            ("use_exponential_sigmas", config.use_exponential_sigmas, false),
            ("use_beta_sigmas", config.use_beta_sigmas, false),
            ("rescale_betas_zero_snr", config.rescale_betas_zero_snr, false),
        ] {
            if value != wanted {
                return Err(format!("{key} is {value}, only {wanted} is known"));
            }
        }
        let (Some(sigma_min), Some(sigma_max)) = (config.sigma_min, config.sigma_max) else {
            return Err("sigma_min and sigma_max are needed, and one of them is not there".into());
        };
        if !(sigma_min > 0.0 && sigma_min < sigma_max && sigma_max.is_finite()) {
            return Err(format!("sigma_min {sigma_min} and sigma_max {sigma_max} are no range above 0"));
        }
        Ok(Self { sigma_min, sigma_max })
    }
}

/// The names of the file; what is not there is diffusers' default.
#[derive(Deserialize)]
struct Config {
    #[serde(rename = "_class_name")]
    class_name: String,
    #[serde(default = "epsilon")]
    prediction_type: String,
    #[serde(default = "discrete")]
    timestep_type: String,
    #[serde(default = "zero")]
    final_sigmas_type: String,
    #[serde(default)]
    use_karras_sigmas: bool,
    #[serde(default)]
    use_exponential_sigmas: bool,
    #[serde(default)]
    use_beta_sigmas: bool,
    #[serde(default)]
    rescale_betas_zero_snr: bool,
    sigma_min: Option<f64>,
    sigma_max: Option<f64>,
}

fn epsilon() -> String {
    "epsilon".into()
}

fn discrete() -> String {
    "discrete".into()
}

fn zero() -> String {
    "zero".into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn published() -> Value {
        json!({
            "_class_name": "EulerDiscreteScheduler", "_diffusers_version": "0.24.0.dev0", "beta_end": 0.012, "beta_schedule": "scaled_linear",
            "beta_start": 0.00085, "clip_sample": false, "interpolation_type": "linear", "num_train_timesteps": 1000,
            "prediction_type": "v_prediction", "set_alpha_to_one": false, "sigma_max": 700.0, "sigma_min": 0.002, "skip_prk_steps": true,
            "steps_offset": 1, "timestep_spacing": "leading", "timestep_type": "continuous", "trained_betas": null, "use_karras_sigmas": true
        })
    }

    fn read(config: &Value) -> Result<SigmaRange, String> {
        SigmaRange::read(config.to_string().as_bytes())
    }

    #[test]
    fn the_published_config_is_taken_and_others_are_refused_by_their_key() {
        assert_eq!(read(&published()).unwrap(), SigmaRange::SVD);
        for (key, value, words) in [
            ("_class_name", json!("DDIMScheduler"), "_class_name is DDIMScheduler"),
            ("prediction_type", json!("epsilon"), "prediction_type is epsilon"),
            ("timestep_type", json!("discrete"), "timestep_type is discrete"),
            ("use_karras_sigmas", json!(false), "use_karras_sigmas is false, only true"),
            ("use_beta_sigmas", json!(true), "use_beta_sigmas is true, only false"),
            ("final_sigmas_type", json!("sigma_min"), "final_sigmas_type is sigma_min"),
            ("sigma_max", json!(null), "sigma_max are needed"),
            ("sigma_max", json!(0.001), "sigma_max 0.001"),
            ("sigma_min", json!(-1.0), "sigma_min -1"),
        ] {
            let mut config = published();
            config[key] = value;
            let said = read(&config).unwrap_err();
            assert!(said.contains(words), "{said}, not {words}");
        }
        let mut config = published();
        config.as_object_mut().unwrap().remove("prediction_type");
        assert!(read(&config).unwrap_err().contains("prediction_type is epsilon"));
        assert!(SigmaRange::read(b"[").is_err());
    }
}
