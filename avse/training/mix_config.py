"""Settings of the training mixtures."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MixConfig:
    """How training mixtures are made.

    Attributes:
        n_frames: Pictures in a window (29 = 116 STFT frames, the paper's window).
        faceless_share: Targets that are voices without faces, with predicted lip features.
        people_power: Corpora are drawn by the root of length x people ** this; at 0 one person with
            many clips can make half of the targets.
        same_speaker_share: Pairs in which both voices are the same person, at tempos of their own.
        same_corpus_share: Interferers drawn from the target's own corpus.
        lone_share: Pairs of one person in two of his clips, of a corpus that holds nobody else: it
            teaches what moves with what, and not that mouths filmed like that mean his voice.
        clean_share: Mixtures that are nearly clean, 10 to 35 dB.
        target_only_share: Windows with nothing but the target.
        pair_share: Windows that come in pairs: the same mixture twice, once with each voice's lips
            and that voice as the target, so that nothing but the lips can tell them apart.
        alone_share: Of those pairs, the ones with nothing beside the two voices.
        hidden_share: Windows whose mouth is hidden throughout.
        half_hidden_share: Windows whose mouth is hidden for a stretch.
        silent_share: Windows outside the pairs in which the person seen says nothing: the mouth all
            but stands still, others speak, and silence is wanted.
        stray_share: Windows outside the pairs whose lips belong to nobody who is heard: then, as
            where the mouth is hidden throughout, every voice is wanted and noise is not.
        noise_share: Mixtures with noise beside the voices.
        equaliser_db: Strength of the random equaliser every voice goes through.
        room_share: Voices put in a made-up room.
        lip_noise: Strength of noise on lip features, in their standard deviations over the window.
        lip_mixing: How far lip features are mixed with each other at random, a window at a time, as
            shares of their spread: other mouths move other features by the same words.
        lip_jitter_frames: Standard deviation of how far the lips of a window are moved in time, as
            by what is left of a measured offset.
        tempo: Voices play this much faster or slower at most, lips along with them.
        snr_db: Range of target against the sum of all else.
        max_interferers: Most voices beside the target.
        level_rms: Level of the mixtures.
    """

    n_frames: int = 29
    faceless_share: float = 0.4
    people_power: float = 2.0
    same_speaker_share: float = 0.25
    same_corpus_share: float = 0.5
    lone_share: float = 0.0
    clean_share: float = 0.2
    target_only_share: float = 0.06
    pair_share: float = 0.625
    alone_share: float = 0.0
    hidden_share: float = 0.1
    half_hidden_share: float = 0.1
    silent_share: float = 0.0
    stray_share: float = 0.0
    noise_share: float = 0.4
    equaliser_db: float = 5.0
    room_share: float = 0.1
    lip_noise: float = 0.0
    lip_mixing: float = 0.0
    lip_jitter_frames: float = 0.0
    tempo: float = 0.15
    snr_db: tuple[float, float] = (-7.0, 15.0)
    max_interferers: int = 4
    level_rms: float = 0.05
