//! The languages in which people opt out of notifications, in and to their settings: one table of words and answers.
//!
//! To add a language, add a line. A word that several languages have is answered in the one of the person's client.

/// A language: its words, and what the bot says. `{}` stands for the category.
#[derive(Debug, PartialEq, Eq)]
pub struct Language {
    /// Its subtag, as in the locales of clients.
    pub code: &'static str,
    /// The words that opt out. The first one is named to people.
    pub stop: &'static [&'static str],
    /// The words that opt in.
    pub start: &'static [&'static str],
    /// The words that ask what there is, and what is chosen.
    pub settings: &'static [&'static str],
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
    /// Under a notification: how to opt out. `{}` stands for what to say.
    pub way_out: &'static str,
    /// The same, as a button.
    pub way_out_button: &'static str,
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
        way_out: "To stop these messages, say **{}**.",
        way_out_button: "Stop these messages",
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
        way_out: "Mit **{}** enden diese Nachrichten.",
        way_out_button: "Diese Nachrichten beenden",
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
        way_out: "Pour ne plus recevoir ces messages, dites **{}**.",
        way_out_button: "Arrêter ces messages",
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
        way_out: "Para no recibir más estos mensajes, diga **{}**.",
        way_out_button: "Detener estos mensajes",
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
        way_out: "Per non ricevere più questi messaggi, scriva **{}**.",
        way_out_button: "Ferma questi messaggi",
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
        way_out: "Para não receber mais estas mensagens, diga **{}**.",
        way_out_button: "Parar estas mensagens",
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
        way_out: "Zeg **{}** om deze berichten te stoppen.",
        way_out_button: "Deze berichten stoppen",
    },
];

impl Language {
    /// The language of this subtag; the first one if there is none.
    pub fn of(code: &str) -> &'static Self {
        Self::find(code).unwrap_or(&LANGUAGES[0])
    }

    /// The language of a locale such as `pt-BR`.
    pub fn of_locale(locale: &str) -> Option<&'static Self> {
        Self::find(locale.split('-').next()?)
    }

    fn find(code: &str) -> Option<&'static Self> {
        LANGUAGES
            .iter()
            .find(|language| language.code.eq_ignore_ascii_case(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_language_means_two_things_by_one_word() {
        for language in &LANGUAGES {
            let mut all = [language.stop, language.start, language.settings].concat();
            all.sort_unstable();
            let count = all.len();
            all.dedup();
            assert_eq!(all.len(), count, "{}", language.code);
            for text in [
                language.stopped,
                language.started,
                language.unknown,
                language.turn_off,
                language.turn_on,
                language.way_out,
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
