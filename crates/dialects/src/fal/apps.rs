//! The apps: what each takes, who plays it, and what it would cost at fal. One table reads the requests and makes the documents.

use crate::front_door::model::{Field, INT, Kind, Model, Need};

/// Frames per second of every take of `infinitalk` and `musetalk`.
pub const FPS: u32 = 25;

pub struct App {
    /// `owner/app`, or with a path behind it.
    pub id: &'static str,
    pub title: &'static str,
    pub summary: &'static str,
    pub plays: Plays,
    pub shape: Shape,
    pub input: &'static Model,
    /// US dollars a billable unit, as the model's page has it; ours are free.
    pub price: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plays {
    /// Whoever plays this dialect's part.
    Cast(&'static str),
    /// This engine and no other.
    Engine(&'static str),
}

/// Which fields an app's input has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A picture and a voice.
    Picture,
    /// A picture and a text to be spoken.
    Text,
    /// A clip and a voice.
    Clip,
    /// A picture or clip, and a voice, a text, or nothing for some seconds.
    Puppet,
    /// A picture or clip, and a voice.
    MuseTalk,
    /// A picture that moves by itself.
    Svd,
}

const fn field(name: &'static str, kind: Kind, need: Need, help: &'static str) -> Field {
    Field { name, kind, need, help }
}

const IMAGE: Field = field(
    "image_url",
    Kind::Text,
    Need::Required,
    "URL of the input image. If the input image does not match the chosen aspect ratio, it is resized and center cropped.",
);
const AUDIO: Field = field("audio_url", Kind::Text, Need::Required, "The URL of the audio file.");
const PROMPT: Field =
    field("prompt", Kind::Text, Need::Required, "The text prompt to guide video generation.");
const FRAMES: Field = field(
    "num_frames",
    Kind::Int { ge: Some(41), le: Some(721) },
    Need::Int(145),
    "Number of frames to generate. Must be between 41 to 721.",
);
const RESOLUTION: Field = field(
    "resolution",
    Kind::Choice(&["480p", "720p"]),
    Need::Text("480p"),
    "Resolution of the video to generate. Must be either 480p or 720p.",
);
const SEED: Field = field(
    "seed",
    INT,
    Need::IntOrNull(42),
    "Random seed for reproducibility. If None, a random seed is chosen.",
);
const ACCELERATION: Field = field(
    "acceleration",
    Kind::Choice(&["none", "regular", "high"]),
    Need::Text("regular"),
    "The acceleration level to use for generation.",
);

static PICTURE: Model = Model {
    name: "InfinitalkInput",
    fields: &[IMAGE, AUDIO, PROMPT, FRAMES, RESOLUTION, SEED, ACCELERATION],
};

static TEXT: Model = Model {
    name: "InfinitalkSingleTextInput",
    fields: &[
        IMAGE,
        field("text_input", Kind::Text, Need::Required, "The text input to guide video generation."),
        field(
            "voice",
            Kind::Text,
            Need::Null,
            "The voice to use for speech generation. This server speaks with the voice that it is configured with.",
        ),
        PROMPT,
        FRAMES,
        RESOLUTION,
        SEED,
        ACCELERATION,
    ],
};

static CLIP: Model = Model {
    name: "InfinitalkVideoToVideoInput",
    fields: &[
        field("video_url", Kind::Text, Need::Required, "URL of the input video."),
        AUDIO,
        PROMPT,
        FRAMES,
        RESOLUTION,
        SEED,
        ACCELERATION,
    ],
};

static PUPPET: Model = Model {
    name: "PuppetInput",
    fields: &[
        field("image_url", Kind::Text, Need::Required, "URL of a picture or a clip of a person"),
        field("audio_url", Kind::Text, Need::Null, "URL of the speech; any sound or video"),
        field("text_input", Kind::Text, Need::Null, "A text to be spoken instead"),
        field(
            "seconds",
            Kind::Float,
            Need::Null,
            "Instead of speech: so many seconds of idle motion, without a sound track",
        ),
        field("size", Kind::Int { ge: Some(64), le: Some(4096) }, Need::Null, "Longest side, in pixels"),
        field("crop", Kind::Choice(&["full", "face"]), Need::Text("full"), "The whole picture, or the face"),
        SEED,
    ],
};

static MUSETALK: Model = Model {
    name: "MuseTalkInput",
    fields: &[
        field("video_url", Kind::Text, Need::Required, "URL of a clip or a picture of a person"),
        AUDIO,
        field("bbox_shift", INT, Need::Int(0), "Moves the box of the face, positive down"),
        SEED,
    ],
};

static SVD: Model = Model {
    name: "SvdInput",
    fields: &[
        field("image_url", Kind::Text, Need::Required, "URL of the picture that is to move"),
        field("seconds", Kind::Int { ge: Some(1), le: Some(60) }, Need::Int(4), "Length of the video"),
        field(
            "size",
            Kind::Int { ge: Some(256), le: Some(1024) },
            Need::Int(1024),
            "Longest side, in pixels",
        ),
        SEED,
    ],
};

const INFINITETALK: Plays = Plays::Cast("infinitetalk");

pub static APPS: [App; 6] = [
    App {
        id: "fal-ai/infinitalk",
        title: "Infinitalk",
        summary: "A talking avatar video from an image and an audio file",
        plays: INFINITETALK,
        shape: Shape::Picture,
        input: &PICTURE,
        price: 0.2,
    },
    App {
        id: "fal-ai/infinitalk/single-text",
        title: "Infinitalk, text to speech",
        summary: "A talking avatar video from an image and a text",
        plays: INFINITETALK,
        shape: Shape::Text,
        input: &TEXT,
        price: 0.2,
    },
    App {
        id: "fal-ai/infinitalk/video-to-video",
        title: "Infinitalk, video to video",
        summary: "A clip of a person speaks another voice",
        plays: INFINITETALK,
        shape: Shape::Clip,
        input: &CLIP,
        price: 0.2,
    },
    App {
        id: "talkie/puppet",
        title: "Puppet",
        summary: "The built-in engine: no weights, no GPU, faster than real time; also in real time at /realtime",
        plays: Plays::Engine("puppet"),
        shape: Shape::Puppet,
        input: &PUPPET,
        price: 0.0,
    },
    App {
        id: "talkie/musetalk",
        title: "MuseTalk",
        summary: "Lip sync of a clip or a picture; also in real time at /realtime",
        plays: Plays::Cast("musetalk"),
        shape: Shape::MuseTalk,
        input: &MUSETALK,
        price: 0.0,
    },
    App {
        id: "talkie/svd",
        title: "Stable Video Diffusion",
        summary: "A picture that moves",
        plays: Plays::Cast("svd"),
        shape: Shape::Svd,
        input: &SVD,
        price: 0.0,
    },
];

/// The app that a path means, and what stands behind it: `/stream`, or nothing.
pub fn find(path: &str) -> Option<(&'static App, &str)> {
    let path = path.trim_start_matches('/');
    let rest = |app: &'static App| match path.strip_prefix(app.id) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Some((app, rest)),
        _ => None,
    };
    APPS.iter().filter_map(rest).min_by_key(|(_, rest)| rest.len())
}

impl App {
    /// `owner/app`: what a request goes by, whatever path it was made under.
    pub fn base(&self) -> &'static str {
        let second = self.id.match_indices('/').nth(1);
        second.map_or(self.id, |(at, _)| &self.id[..at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_app_that_a_path_begins_with_is_meant() {
        let rows = [
            ("/fal-ai/infinitalk", Some(("fal-ai/infinitalk", ""))),
            ("fal-ai/infinitalk/", Some(("fal-ai/infinitalk", "/"))),
            ("/fal-ai/infinitalk/stream", Some(("fal-ai/infinitalk", "/stream"))),
            ("/fal-ai/infinitalk/single-text", Some(("fal-ai/infinitalk/single-text", ""))),
            ("/fal-ai/infinitalk/single-text/stream", Some(("fal-ai/infinitalk/single-text", "/stream"))),
            ("/fal-ai/infinitalks", None),
            ("/fal-ai", None),
            ("/workflows/fal-ai/infinitalk", None),
        ];
        for (path, expected) in rows {
            assert_eq!(find(path).map(|(app, rest)| (app.id, rest)), expected, "{path}");
        }
        assert_eq!(find("/fal-ai/infinitalk/single-text").unwrap().0.base(), "fal-ai/infinitalk");
        assert_eq!(find("/talkie/puppet").unwrap().0.base(), "talkie/puppet");
    }
}
