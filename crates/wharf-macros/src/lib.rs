//! The attributes `#[wharf::main]` and `#[wharf::test]`: what they turn an async function into.
//!
//! They are re-exported by `wharf`, whose documentation is the one to read. All they do is to wrap
//! the body in `Runtime::block_on`; the runtime itself knows nothing of them.

use proc_macro::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Expr, ExprLit, Ident, ItemFn, Lit, Result, Token};

/// The options in an attribute's parentheses.
#[derive(Default)]
struct Options {
    workers: Option<Expr>,
    backend: Option<Expr>,
    crate_path: Option<syn::Path>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Options> {
        let mut options = Options::default();
        while !input.is_empty() {
            let name = if input.peek(Token![crate]) {
                let token: Token![crate] = input.parse()?;
                Ident::new("crate", token.span)
            } else {
                input.parse()?
            };
            input.parse::<Token![=]>()?;
            match name.to_string().as_str() {
                "workers" => options.workers = Some(input.parse()?),
                "backend" => options.backend = Some(input.parse()?),
                "crate" => options.crate_path = Some(input.parse()?),
                other => {
                    let message = format!(
                        "unknown option '{other}': there are workers = NUMBER, \
                         backend = \"NAME\" and crate = PATH"
                    );
                    return Err(Error::new(name.span(), message));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

impl Options {
    /// The expression that builds the runtime.
    fn runtime(&self) -> proc_macro2::TokenStream {
        let wharf = self.wharf();
        let workers = self
            .workers
            .as_ref()
            .map(|workers| quote!(.workers(#workers)));
        let backend = self.backend.as_ref().map(|backend| match backend {
            // A name is read when the program starts: which names there are differs by platform.
            Expr::Lit(ExprLit {
                lit: Lit::Str(name),
                ..
            }) => quote! {
                .backend(#name.parse().expect("the backend that the attribute names"))
            },
            kind => quote!(.backend(#kind)),
        });
        quote! {
            #wharf::Runtime::builder() #workers #backend
                .build()
                .expect("the runtime cannot be made")
        }
    }

    fn wharf(&self) -> proc_macro2::TokenStream {
        match &self.crate_path {
            Some(path) => quote!(#path),
            None => quote!(::wharf),
        }
    }
}

fn expand(attribute: TokenStream, item: TokenStream, is_test: bool) -> Result<TokenStream> {
    let options: Options = syn::parse(attribute)?;
    let mut function: ItemFn = syn::parse(item)?;
    if function.sig.asyncness.take().is_none() {
        return Err(Error::new_spanned(
            function.sig.fn_token,
            "the function must be async: `async fn`",
        ));
    }
    if let Some(input) = function.sig.inputs.first() {
        return Err(Error::new_spanned(
            input,
            "the function takes no arguments: nobody could give them",
        ));
    }
    let runtime = options.runtime();
    let ItemFn {
        attrs,
        vis,
        sig,
        block,
        ..
    } = function;
    let test = is_test.then(|| quote!(#[::core::prelude::v1::test]));
    Ok(quote! {
        #(#attrs)*
        #test
        #vis #sig {
            let body = async move #block;
            let runtime = #runtime;
            runtime.block_on(body)
        }
    }
    .into())
}

/// Makes an async function the program's `main`: it runs on a [`Runtime`] of its own.
///
/// Options: `workers = NUMBER` (0 for one a processor; 1 if not given), `backend = "NAME"`,
/// `crate = PATH` if `wharf` has another name.
///
/// ```
/// #[wharf::main(workers = 4)]
/// async fn main() -> std::io::Result<()> {
///     assert_eq!(wharf::runtime::workers(), 4);
///     Ok(())
/// }
/// ```
///
/// [`Runtime`]: https://docs.rs/wharf/latest/wharf/struct.Runtime.html
#[proc_macro_attribute]
pub fn main(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand(attribute, item, false).unwrap_or_else(|error| error.to_compile_error().into())
}

/// Makes an async function a test that runs on a runtime of its own; the options are those of
/// [`macro@main`].
///
/// ```
/// #[wharf::test(workers = 2)]
/// async fn one_and_one_is_two() {
///     assert_eq!(wharf::spawn(async { 1 + 1 }).await.unwrap(), 2);
/// }
/// ```
#[proc_macro_attribute]
pub fn test(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand(attribute, item, true).unwrap_or_else(|error| error.to_compile_error().into())
}
