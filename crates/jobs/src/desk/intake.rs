//! What an order must be before it becomes a job: cheap to check, so that nobody waits in the queue for a refusal.

use contract::{Complaint, EngineCard, Settings, SubjectKind};
use sha2::{Digest, Sha256};

use crate::record::kept;
use crate::{AvatarName, Delivery, Order, SubjectSpec, TakeSpec, VoiceSpec, Work};

/// The engine is there and takes such work.
pub fn check<'a>(engines: &'a [EngineCard], work: &Work) -> Result<&'a EngineCard, Complaint> {
    let card = engine(engines, work.engine())?;
    match work {
        Work::Take(take) => check_take(card, take)?,
        Work::Prepare(prepare) => {
            if !card.subjects.contains(&SubjectKind::Avatar) {
                return Err(unsupported(card, "an avatar"));
            }
            check_settings(card, &prepare.settings)?;
        }
    }
    Ok(card)
}

fn engine<'a>(engines: &'a [EngineCard], name: &str) -> Result<&'a EngineCard, Complaint> {
    engines.iter().find(|card| card.name == name).ok_or_else(|| {
        let names: Vec<_> = engines.iter().map(|card| card.name).collect();
        let hint = format!("this server has: {}", names.join(", "));
        Complaint::new("unknown_engine", format!("there is no engine `{name}`"), hint)
    })
}

pub fn check_take(card: &EngineCard, take: &TakeSpec) -> Result<(), Complaint> {
    let takes = |kind| card.subjects.contains(&kind);
    let (fits, what) = match &take.subject {
        SubjectSpec::Picture(_) | SubjectSpec::Filling { .. } => (takes(SubjectKind::Picture), "a picture"),
        SubjectSpec::Clip(_) => (takes(SubjectKind::Clip), "a clip"),
        SubjectSpec::PictureOrClip(_) => {
            (takes(SubjectKind::Picture) || takes(SubjectKind::Clip), "a picture or clip")
        }
        SubjectSpec::Avatar(_) => (takes(SubjectKind::Avatar), "an avatar"),
    };
    if !fits {
        return Err(unsupported(card, what));
    }
    if let (VoiceSpec::Idle { .. }, false) = (&take.voice, card.idles) {
        let message = format!("the engine {} makes no take without a voice", card.name);
        return Err(Complaint::new("voice_required", message, "send speech"));
    }
    if take.voice.persons() > card.persons as usize {
        let (given, most) = (take.voice.persons(), card.persons);
        let message = format!("{given} voices were given, the engine {} animates {most}", card.name);
        return Err(Complaint::new("too_many_voices", message, "send fewer voices"));
    }
    let (least, most) = card.fps_range;
    if let Some(fps) = take.fps.filter(|fps| fps.as_f64() < least || fps.as_f64() > most) {
        let message =
            format!("{fps} frames per second are outside {least} to {most} of the engine {}", card.name);
        return Err(Complaint::new("bad_fps", message, "ask for a rate in that range"));
    }
    check_settings(card, &take.settings)
}

fn check_settings(card: &EngineCard, settings: &Settings) -> Result<(), Complaint> {
    let known = |name: &str| card.settings.iter().any(|setting| setting.name == name);
    let Some(unknown) = settings.sent.keys().find(|name| !known(name)) else { return Ok(()) };
    let names: Vec<_> = card.settings.iter().map(|setting| setting.name).collect();
    Err(Complaint::new(
        "unknown_setting",
        format!("the engine {} has no setting `{unknown}`", card.name),
        format!("it has: {}", names.join(", ")),
    ))
}

fn unsupported(card: &EngineCard, what: &str) -> Complaint {
    let message = format!("the engine {} does not work on {what}", card.name);
    Complaint::new("unsupported_subject", message, "choose another engine, or send what it works on")
}

/// The avatar that the work names, if any.
pub fn avatar_of(work: &Work) -> Option<&AvatarName> {
    match work {
        Work::Take(TakeSpec { subject: SubjectSpec::Avatar(name), .. }) => Some(name),
        Work::Take(_) | Work::Prepare(_) => None,
    }
}

pub fn unknown_avatar(name: &str) -> Complaint {
    let message = format!("there is no avatar `{name}`");
    Complaint::new("unknown_avatar", message, "prepare it first, or check its name")
}

/// What makes two orders the same work: the request's fingerprint where the dialect gave one (uploads have new keys and
/// seeds may be drawn anew in every request), else the work itself.
pub fn identity(order: &Order) -> String {
    let text = match &order.twin {
        Some(twin) => twin.clone(),
        None => kept::<(&Work, &Delivery)>(&(&order.work, &order.deliver)),
    };
    hex::encode(Sha256::digest(text))
}

/// Parts of an avatar are read by the engine that made them.
pub fn avatar_of_other_engine(made_by: &str, asked: &str, avatar: &AvatarName) -> Complaint {
    Complaint::new(
        "avatar_of_other_engine",
        format!(
            "the avatar `{}` was made by the engine {made_by}, the request asks for {asked}",
            avatar.name
        ),
        "prepare it again with that engine",
    )
}
