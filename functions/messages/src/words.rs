//! The words by which people opt out of notifications, in and to their settings, with what the bot answers: one table of languages.
//!
//! To add a language, add a line. A word that several languages have is answered in the one of the person's client.

use botframework::app::{Context, Trigger};

/// What a person wants by a word. A handler is registered for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// No more notifications, of a category or at all.
    Stop,
    /// Notifications again.
    Start,
    /// What there is, and what is chosen.
    Settings,
}

/// A word that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaidWord {
    /// The language of the answer.
    pub language: &'static Language,
    /// What follows the word: the category that is meant.
    pub about: String,
}

/// A language: its words, and what the bot says. `{}` stands for the category.
#[derive(Debug, PartialEq, Eq)]
pub struct Language {
    /// Its subtag, as in the locales of clients.
    pub code: &'static str,
    stop: &'static [&'static str],
    start: &'static [&'static str],
    settings: &'static [&'static str],
    /// Everything is stopped.
    pub stopped_all: &'static str,
    /// A category is stopped.
    pub stopped: &'static str,
    /// Everything comes again.
    pub started_all: &'static str,
    /// A category comes again.
    pub started: &'static str,
    /// No category is called that.
    pub unknown: &'static str,
    /// Above the settings.
    pub title: &'static str,
    /// All notifications that have no choice of their own.
    pub everything: &'static str,
    /// The button that opts out.
    pub turn_off: &'static str,
    /// The button that opts in.
    pub turn_on: &'static str,
    /// The bot knows no place whose choice it could be.
    pub nowhere: &'static str,
}

/// The languages. The first one answers if nothing says which.
pub static LANGUAGES: [Language; 7] = [
    Language {
        code: "en",
        stop: &["stop", "opt out", "quit"],
        start: &["start", "opt in", "resume"],
        settings: &["settings", "preferences"],
        stopped_all: "I send no notifications here any more. Say **start** to get them again.",
        stopped: "I send nothing about **{}** here any more. Say **start {}** to get it again.",
        started_all: "I send notifications here again.",
        started: "I send what is about **{}** here again.",
        unknown: "I have no kind of notification called **{}**. Say **stop** for all of them, or choose:",
        title: "Which notifications do you want here?",
        everything: "Everything else",
        turn_off: "Turn off: {}",
        turn_on: "Turn on: {}",
        nowhere: "I do not know this conversation, so I cannot keep that.",
    },
    Language {
        code: "de",
        stop: &["stopp", "stop", "abmelden"],
        start: &["start", "anmelden", "weiter"],
        settings: &["einstellungen", "benachrichtigungen"],
        stopped_all: "Ich sende hier keine Benachrichtigungen mehr. Mit **start** kommen sie wieder.",
        stopped: "Ich sende hier nichts mehr zu **{}**. Mit **start {}** kommt es wieder.",
        started_all: "Ich sende hier wieder Benachrichtigungen.",
        started: "Ich sende hier wieder, was **{}** betrifft.",
        unknown: "Ich kenne keine Art von Benachrichtigung namens **{}**. Mit **stopp** enden alle, oder wählen Sie:",
        title: "Welche Benachrichtigungen möchten Sie hier?",
        everything: "Alles andere",
        turn_off: "Ausschalten: {}",
        turn_on: "Einschalten: {}",
        nowhere: "Ich kenne diese Unterhaltung nicht und kann mir das nicht merken.",
    },
    Language {
        code: "fr",
        stop: &["stop", "arrêter", "arreter", "arrêt", "arret"],
        start: &["démarrer", "demarrer", "reprendre"],
        settings: &["paramètres", "parametres", "préférences", "réglages", "reglages"],
        stopped_all: "Je n’envoie plus de notifications ici. Dites **reprendre** pour les recevoir de nouveau.",
        stopped: "Je n’envoie plus rien ici sur **{}**. Dites **reprendre {}** pour le recevoir de nouveau.",
        started_all: "J’envoie de nouveau des notifications ici.",
        started: "J’envoie de nouveau ici ce qui concerne **{}**.",
        unknown: "Je ne connais pas de notifications nommées **{}**. Dites **stop** pour toutes, ou choisissez :",
        title: "Quelles notifications voulez-vous ici ?",
        everything: "Tout le reste",
        turn_off: "Désactiver : {}",
        turn_on: "Activer : {}",
        nowhere: "Je ne connais pas cette conversation et ne peux pas retenir ce choix.",
    },
    Language {
        code: "es",
        stop: &["parar", "detener", "stop"],
        start: &["iniciar", "empezar", "reanudar"],
        settings: &["ajustes", "configuración", "configuracion", "preferencias"],
        stopped_all: "Ya no envío notificaciones aquí. Diga **iniciar** para recibirlas de nuevo.",
        stopped: "Ya no envío nada aquí sobre **{}**. Diga **iniciar {}** para recibirlo de nuevo.",
        started_all: "Vuelvo a enviar notificaciones aquí.",
        started: "Vuelvo a enviar aquí lo que trata de **{}**.",
        unknown: "No conozco notificaciones llamadas **{}**. Diga **parar** para todas, o elija:",
        title: "¿Qué notificaciones quiere aquí?",
        everything: "Todo lo demás",
        turn_off: "Desactivar: {}",
        turn_on: "Activar: {}",
        nowhere: "No conozco esta conversación y no puedo recordar eso.",
    },
    Language {
        code: "it",
        stop: &["ferma", "basta", "stop"],
        start: &["inizia", "riprendi"],
        settings: &["impostazioni", "preferenze"],
        stopped_all: "Non invio più notifiche qui. Scriva **inizia** per riceverle di nuovo.",
        stopped: "Non invio più nulla qui su **{}**. Scriva **inizia {}** per riceverlo di nuovo.",
        started_all: "Invio di nuovo notifiche qui.",
        started: "Invio di nuovo qui ciò che riguarda **{}**.",
        unknown: "Non conosco notifiche chiamate **{}**. Scriva **ferma** per tutte, oppure scelga:",
        title: "Quali notifiche vuole qui?",
        everything: "Tutto il resto",
        turn_off: "Disattiva: {}",
        turn_on: "Attiva: {}",
        nowhere: "Non conosco questa conversazione e non posso ricordarlo.",
    },
    Language {
        code: "pt",
        stop: &["parar", "cancelar", "stop"],
        start: &["iniciar", "começar", "comecar"],
        settings: &["configurações", "configuracoes", "definições", "preferências"],
        stopped_all: "Já não envio notificações aqui. Diga **iniciar** para as receber de novo.",
        stopped: "Já não envio nada aqui sobre **{}**. Diga **iniciar {}** para o receber de novo.",
        started_all: "Volto a enviar notificações aqui.",
        started: "Volto a enviar aqui o que trata de **{}**.",
        unknown: "Não conheço notificações chamadas **{}**. Diga **parar** para todas, ou escolha:",
        title: "Que notificações quer aqui?",
        everything: "Tudo o resto",
        turn_off: "Desativar: {}",
        turn_on: "Ativar: {}",
        nowhere: "Não conheço esta conversa e não posso guardar isso.",
    },
    Language {
        code: "nl",
        stop: &["stop", "afmelden"],
        start: &["start", "aanmelden", "hervatten"],
        settings: &["instellingen", "voorkeuren"],
        stopped_all: "Ik stuur hier geen meldingen meer. Zeg **start** om ze weer te krijgen.",
        stopped: "Ik stuur hier niets meer over **{}**. Zeg **start {}** om het weer te krijgen.",
        started_all: "Ik stuur hier weer meldingen.",
        started: "Ik stuur hier weer wat over **{}** gaat.",
        unknown: "Ik ken geen meldingen met de naam **{}**. Zeg **stop** voor alle, of kies:",
        title: "Welke meldingen wilt u hier?",
        everything: "Al het andere",
        turn_off: "Uitzetten: {}",
        turn_on: "Aanzetten: {}",
        nowhere: "Ik ken dit gesprek niet en kan dat niet onthouden.",
    },
];

impl Language {
    /// The language of this subtag.
    pub fn of(code: &str) -> &'static Self {
        find(code).unwrap_or(&LANGUAGES[0])
    }

    fn words(&self, word: Word) -> &'static [&'static str] {
        match word {
            Word::Stop => self.stop,
            Word::Start => self.start,
            Word::Settings => self.settings,
        }
    }

    /// What follows one of its words in a text.
    fn rest<'t>(&self, word: Word, text: &'t str) -> Option<&'t str> {
        let words = self.words(word).iter();
        words
            .filter_map(|word| after(word, text))
            .min_by_key(|rest| rest.len())
    }
}

impl Word {
    /// Reads what a person says, whose client has this locale.
    pub fn read(self, text: &str, locale: Option<&str>) -> Option<SaidWord> {
        let own = locale.and_then(|locale| find(locale.split('-').next()?));
        let all = own.into_iter().chain(&LANGUAGES);
        let mut said = all.filter_map(|language| Some((language, language.rest(self, text)?)));
        said.next().map(|(language, rest)| SaidWord {
            language,
            about: rest
                .trim_matches(|one: char| one.is_whitespace() || ".!".contains(one))
                .to_owned(),
        })
    }
}

impl Trigger for Word {
    type Input = SaidWord;

    fn input(&self, context: &Context) -> Option<SaidWord> {
        let activity = context.activity();
        let text = activity.is_message().then(|| context.text())?;
        self.read(text, activity.locale.as_deref())
    }
}

fn find(code: &str) -> Option<&'static Language> {
    LANGUAGES
        .iter()
        .find(|language| language.code.eq_ignore_ascii_case(code))
}

/// What follows a word in a text, if it begins with the word, in any case.
fn after<'t>(word: &str, text: &'t str) -> Option<&'t str> {
    let text = text.trim();
    let mut rest = text.chars();
    for expected in word.chars() {
        let found = rest.next()?;
        found.to_lowercase().eq(expected.to_lowercase()).then_some(())?;
    }
    let rest = rest.as_str();
    let ends = rest
        .chars()
        .next()
        .is_none_or(|next| next.is_whitespace() || ".!".contains(next));
    ends.then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(word: Word, text: &str, locale: &str) -> Option<(&'static str, String)> {
        word.read(text, Some(locale).filter(|locale| !locale.is_empty()))
            .map(|said| (said.language.code, said.about))
    }

    #[test]
    fn a_word_is_known_in_each_language_in_any_case_with_what_follows() {
        for (word, text, locale, expected) in [
            (Word::Stop, "Stop", "", ("en", "")),
            (Word::Stop, " STOP news! ", "en-GB", ("en", "news")),
            (Word::Stop, "opt out build failures", "", ("en", "build failures")),
            (Word::Stop, "Stopp", "", ("de", "")),
            (Word::Stop, "stop", "de-DE", ("de", "")),
            (Word::Stop, "ARRÊTER", "en-US", ("fr", "")),
            (Word::Start, "Reprendre actualités", "", ("fr", "actualités")),
            (Word::Settings, "Einstellungen", "ja-JP", ("de", "")),
            (Word::Settings, "configurações.", "", ("pt", "")),
            (Word::Stop, "parar", "pt-BR", ("pt", "")),
            (Word::Start, "hervatten", "", ("nl", "")),
        ] {
            let expected = Some((expected.0, expected.1.to_owned()));
            assert_eq!(said(word, text, locale), expected, "{text}");
        }
        for text in ["", "stopping", "please stop", "stopwatch 5", "st", "unstop"] {
            assert_eq!(said(Word::Stop, text, ""), None, "{text}");
        }
    }

    #[test]
    fn no_language_means_two_things_by_one_word() {
        for language in &LANGUAGES {
            let all = [Word::Stop, Word::Start, Word::Settings].map(|word| language.words(word));
            let mut all: Vec<_> = all.concat();
            all.sort_unstable();
            let count = all.len();
            all.dedup();
            assert_eq!(all.len(), count, "{}", language.code);
            for text in [
                language.stopped,
                language.started,
                language.unknown,
                language.turn_off,
            ] {
                assert!(text.contains("{}"), "{text}");
            }
        }
        // The word that an answer names must be one of the language's.
        for language in &LANGUAGES {
            let named = language.stopped_all.split("**").nth(1).unwrap();
            assert!(language.start.contains(&named), "{named}");
            let named = language.unknown.split("**").nth(3).unwrap();
            assert!(language.stop.contains(&named), "{named}");
        }
    }
}
