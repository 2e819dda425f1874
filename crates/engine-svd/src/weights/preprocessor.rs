//! feature_extractor/preprocessor_config.json: what the pixels for CLIP are normalised by. Everything else of it (sizes, crops, rescaling) has no effect:
//! diffusers' pipeline hands it pictures that have their size, and asks for the normalisation only.

use serde::Deserialize;

/// Of red, green and blue on [0, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

impl Normalisation {
    /// Of every published model.
    pub const CLIP: Self = Self {
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
    };

    /// text: of the file. The error is for people, and names the key and its value.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        let Config { image_mean, image_std } =
            serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if !image_mean.iter().all(|mean| mean.is_finite()) {
            return Err(format!("image_mean is {image_mean:?}, it must be three finite numbers"));
        }
        if !image_std.iter().all(|std| *std > 0.0 && std.is_finite()) {
            return Err(format!("image_std is {image_std:?}, it must be three numbers above 0"));
        }
        Ok(Self { mean: image_mean, std: image_std })
    }
}

/// The names of the file.
#[derive(Deserialize)]
struct Config {
    image_mean: [f32; 3],
    image_std: [f32; 3],
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_published_file_is_taken_and_what_cannot_be_divided_by_is_refused() {
        let published = json!({
            "crop_size": { "height": 224, "width": 224 }, "do_center_crop": true, "do_convert_rgb": true, "do_normalize": true,
            "do_rescale": true, "do_resize": true, "feature_extractor_type": "CLIPFeatureExtractor",
            "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_processor_type": "CLIPImageProcessor",
            "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3, "rescale_factor": 0.00392156862745098,
            "size": { "shortest_edge": 224 }
        });
        let read = |config: &Value| Normalisation::read(config.to_string().as_bytes());
        assert_eq!(read(&published), Ok(Normalisation::CLIP));
        for (key, value, words) in [
            ("image_mean", json!([0.5, 0.5]), "length 2"),
            ("image_mean", json!([0.5, 0.5, 1e39]), "image_mean is"),
            ("image_std", json!([0.5, 0.0, 0.5]), "image_std is [0.5, 0.0, 0.5]"),
            ("image_std", json!(null), "null"),
        ] {
            let mut config = published.clone();
            config[key] = value;
            let said = read(&config).unwrap_err();
            assert!(said.contains(words), "{said}, not {words}");
        }
    }
}
