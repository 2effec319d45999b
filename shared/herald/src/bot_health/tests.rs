//! When it is the bot's fault, and when a tenant's.

use super::*;
use crate::conversation::ConversationKey;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn bucket(tenant: &str) -> Bucket {
    let key: ConversationKey = "msteams|28:bot|a:1".parse().unwrap();
    Bucket::of(&key, Some(tenant))
}

fn acceptance(tenant: &str, seconds: i64) -> TokenAcceptance {
    TokenAcceptance {
        bucket: bucket(tenant),
        at: at(seconds),
    }
}

/// The record after this tenant refused the token, and whose fault it is.
fn refused(health: &BotHealth, tenant: &str, seconds: i64) -> (TokenFault, BotHealth) {
    let (fault, (_, new)) = health.refused(&bucket(tenant), "Http401", None, at(seconds));
    (fault, new.unwrap_or_else(|| health.clone()))
}

fn accepted(health: &BotHealth, tenant: &str, seconds: i64) -> BotHealth {
    let (_, new) = health.accepted(&acceptance(tenant, seconds), Some(at(0)));
    new.unwrap_or_else(|| health.clone())
}

#[test]
fn a_401_is_the_tenants_until_another_tenant_refuses_too() {
    let (fault, health) = refused(&BotHealth::default(), "t1", 0);
    assert_eq!(fault, TokenFault::Tenant(Evidence::None));
    let (fault, health) = refused(&health, "t1", 600);
    assert_eq!(fault, TokenFault::Tenant(Evidence::None));
    let (fault, health) = refused(&health, "t2", 601);
    assert_eq!(fault, TokenFault::Bot);
    let outage = health.current_outage(at(602)).unwrap();
    assert_eq!((outage.cause, outage.since), (OutageCause::TokenRefused, at(601)));
}

#[test]
fn tenants_that_refuse_while_another_accepts_are_at_fault_themselves() {
    let health = accepted(&BotHealth::default(), "t1", 0);
    let (fault, health) = refused(&health, "t2", 1);
    assert_eq!(fault, TokenFault::Tenant(Evidence::AcceptedElsewhere));
    let (fault, health) = refused(&health, "t3", 2);
    assert_eq!(
        fault,
        TokenFault::Bot,
        "nothing was accepted since the second refusal"
    );
    let health = accepted(&health, "t1", 3);
    assert_eq!(health.outage, None, "an acceptance ends it");
    for tenant in ["t2", "t3"] {
        let (fault, _) = refused(&health, tenant, 4);
        assert_eq!(fault, TokenFault::Tenant(Evidence::AcceptedElsewhere), "{tenant}");
    }
}

#[test]
fn a_tenant_that_accepted_before_it_refused_proves_nothing() {
    let health = accepted(&BotHealth::default(), "t1", 0);
    let (_, health) = refused(&health, "t1", 30);
    let (fault, _) = refused(&health, "t1", 31);
    assert_eq!(fault, TokenFault::Tenant(Evidence::None));
    let (fault, _) = refused(&health, "t2", 32);
    assert_eq!(fault, TokenFault::Bot);
}

#[test]
fn an_acceptance_of_this_invocation_counts_before_it_is_written() {
    let (_, (_, health)) = BotHealth::default().refused(&bucket("t2"), "Http401", None, at(0));
    let here = acceptance("t1", 1);
    let health = health.unwrap();
    for (second, fault) in [
        (1, TokenFault::Tenant(Evidence::AcceptedElsewhere)),
        (2, TokenFault::Bot),
    ] {
        // Only an acceptance that is no earlier than the last refusal proves that the token is good.
        let (found, _) = health.refused(&bucket("t3"), "Http401", Some(&here), at(second));
        assert_eq!(found, fault, "{second}");
    }
    let (_, (_, health)) = BotHealth::default().refused(&bucket("t2"), "Http401", Some(&here), at(1));
    assert_eq!(health.unwrap().accepted, Some(here));
}

#[test]
fn an_outage_is_written_once_a_minute_and_announced_until_that_is_noted() {
    let (begun, health) = BotHealth::default().no_token("AADSTS7000222", at(0));
    let (begun, health) = (begun.unwrap(), health.unwrap());
    assert_eq!((begun.code.as_str(), begun.since), ("AADSTS7000222", at(0)));
    let (again, written) = health.no_token("AADSTS7000222", at(30));
    assert_eq!(
        (again, written),
        (Some(begun.clone()), None),
        "not announced, and not written"
    );
    let health = health.announced(begun.since).unwrap();
    assert_eq!(health.announced(begun.since), None);
    let (again, written) = health.no_token("AADSTS7000222", at(30));
    assert_eq!((again, written), (None, None));
    let (again, written) = health.no_token("AADSTS7000215", at(90));
    let outage = written.unwrap().outage.unwrap();
    assert_eq!(again, None);
    assert_eq!(
        (outage.code.as_str(), outage.since, outage.seen_at),
        ("AADSTS7000215", at(0), at(90))
    );
}

#[test]
fn a_cached_token_does_not_end_the_outage_of_the_token_endpoint() {
    let (_, health) = BotHealth::default().no_token("AADSTS7000222", at(1000));
    let health = health.unwrap();
    let (ended, after) = health.accepted(&acceptance("t1", 1001), Some(at(500)));
    assert_eq!(ended, None, "another process has a token from before");
    assert!(after.unwrap().outage.is_some());
    let (ended, after) = health.accepted(&acceptance("t1", 1070), Some(at(1069)));
    assert_eq!(ended.unwrap().since, at(1000));
    assert_eq!(after.unwrap().outage, None);
}

#[test]
fn an_outage_that_nothing_confirms_is_over_after_half_an_hour() {
    let (_, health) = BotHealth::default().no_token("AADSTS7000222", at(0));
    let health = health.unwrap();
    assert!(health.current_outage(at(1799)).is_some());
    assert_eq!(health.current_outage(at(1801)), None);
    let (begun, _) = health.no_token("AADSTS7000222", at(1801));
    assert_eq!(begun.unwrap().since, at(1801), "it is a new one");
}

#[test]
fn a_healthy_bot_costs_one_write_a_minute() {
    let health = accepted(&BotHealth::default(), "t1", 0);
    assert_eq!(health.accepted(&acceptance("t2", 59), Some(at(0))), (None, None));
    assert!(health.accepted(&acceptance("t2", 60), Some(at(0))).1.is_some());
}

#[test]
fn no_more_than_eight_tenants_are_kept() {
    let mut health = BotHealth::default();
    for tenant in 0..100 {
        health = refused(&health, &tenant.to_string(), tenant).1;
    }
    assert_eq!(health.refusals.len(), MAX_REFUSALS);
}
