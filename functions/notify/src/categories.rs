//! `/api/categories`: what kinds of notifications there are, as people see them when they opt out.

use herald::audit::AuditAction;
use herald::backend::Backend;
use herald::category::{CATEGORIES_MAX, Categories, Category};
use herald::problem::Problem;
use herald::store::catalogue::{self, PutEntry};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::Serialize;

use crate::Context;
use crate::request::document;
use crate::response::{ApiError, json, no_content};

/// A category as answers show it.
#[derive(Debug, Serialize)]
struct ShownCategory<'a> {
    name: &'a str,
    #[serde(flatten)]
    category: &'a Category,
}

#[derive(Debug, Serialize)]
struct ListedCategories<'a> {
    categories: Vec<ShownCategory<'a>>,
}

impl<B: Backend> Context<B> {
    /// `GET /api/categories`
    pub(crate) async fn categories(&self) -> Result<Response<Body>, ApiError> {
        let all = catalogue::all::<Categories>(&self.registry).await?;
        let categories = all.0.iter();
        let categories = categories.map(|(name, category)| ShownCategory { name, category });
        let listed = ListedCategories {
            categories: categories.collect(),
        };
        Ok(json(StatusCode::OK, &listed))
    }

    /// `GET /api/categories/{name}`
    pub(crate) async fn category(&self, name: &str) -> Result<Response<Body>, ApiError> {
        let all = catalogue::all::<Categories>(&self.registry).await?;
        let category = all.0.get(name).ok_or_else(no_category)?;
        Ok(json(StatusCode::OK, &ShownCategory { name, category }))
    }

    /// `PUT /api/categories/{name}`
    pub(crate) async fn put_category(
        &self,
        name: &str,
        request: &Request,
        caller: &str,
    ) -> Result<Response<Body>, ApiError> {
        let document = document(request)?.value;
        let category = Category::parse(name, &document).map_err(Problem::invalid)?;
        let status = match catalogue::put::<Categories>(&self.registry, name, &category).await? {
            PutEntry::Created => StatusCode::CREATED,
            PutEntry::Replaced => StatusCode::OK,
            PutEntry::Full => {
                return Err(ApiError::conflict(format!(
                    "There are {CATEGORIES_MAX} categories, which are as many as there may be. Delete one first."
                )));
            }
        };
        AuditAction::PutCategory.of_category(caller, name);
        let category = &category;
        Ok(json(status, &ShownCategory { name, category }))
    }

    /// `DELETE /api/categories/{name}`
    pub(crate) async fn delete_category(&self, name: &str, caller: &str) -> Result<Response<Body>, ApiError> {
        if !catalogue::remove::<Categories>(&self.registry, name).await? {
            return Err(no_category());
        }
        AuditAction::DeleteCategory.of_category(caller, name);
        Ok(no_content())
    }
}

fn no_category() -> ApiError {
    ApiError::not_found("There is no category of this name.")
}
