//! What VisNet says about 10 ms of sound.

/// What a mouth can be seen doing; the order is that of the network's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Viseme {
    Sil,
    PP,
    FF,
    TH,
    DD,
    KK,
    CH,
    SS,
    RR,
    AA,
    E,
    I,
    O,
    U,
}

impl Viseme {
    pub const ALL: [Viseme; 14] = [
        Viseme::Sil,
        Viseme::PP,
        Viseme::FF,
        Viseme::TH,
        Viseme::DD,
        Viseme::KK,
        Viseme::CH,
        Viseme::SS,
        Viseme::RR,
        Viseme::AA,
        Viseme::E,
        Viseme::I,
        Viseme::O,
        Viseme::U,
    ];

    /// As `phonemes.json` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Viseme::Sil => "sil",
            Viseme::PP => "PP",
            Viseme::FF => "FF",
            Viseme::TH => "TH",
            Viseme::DD => "DD",
            Viseme::KK => "kk",
            Viseme::CH => "CH",
            Viseme::SS => "SS",
            Viseme::RR => "RR",
            Viseme::AA => "aa",
            Viseme::E => "E",
            Viseme::I => "I",
            Viseme::O => "O",
            Viseme::U => "U",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|viseme| viseme.name() == name)
    }
}

/// The network's own answer for one frame of 10 ms, before any post-processing; every number 0..1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Visemes {
    /// In the order of `Viseme::ALL`; they sum to 1.
    pub probabilities: [f32; 14],
    pub jaw: f32,
    pub wide: f32,
    pub round: f32,
    pub close: f32,
    pub labiodental: f32,
}

impl Visemes {
    pub fn probability(&self, viseme: Viseme) -> f32 {
        self.probabilities[viseme as usize]
    }

    /// (19,) logits -> probabilities.
    pub(crate) fn of_logits(logits: &[f32; 19]) -> Self {
        // f64 and back: the last bit of an f32 exponential differs between C libraries
        let sigmoid = |x: f32| (1.0 / (1.0 + (-f64::from(x)).exp())) as f32;
        let top = logits[..14].iter().copied().fold(f32::MIN, f32::max);
        let mut shares = [0.0; 14];
        for (share, &x) in shares.iter_mut().zip(logits) {
            *share = f64::from(x - top).exp();
        }
        let sum: f64 = shares.iter().sum();
        Self {
            probabilities: shares.map(|x| (x / sum) as f32),
            jaw: sigmoid(logits[14]),
            wide: sigmoid(logits[15]),
            round: sigmoid(logits[16]),
            close: sigmoid(logits[17]),
            labiodental: sigmoid(logits[18]),
        }
    }
}
