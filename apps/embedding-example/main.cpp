// JadeVectorDB inside a program of your own: no server, no other process.
#include <jade/jade.h>

#include <iostream>

namespace {

// Takes the value out of a result, or ends the program saying what was wrong.
template <class T>
T value_of(jade::Result<T> result) {
  if (!result) {
    std::cerr << result.status().to_string() << "\n";
    std::exit(1);
  }
  return *std::move(result);
}

}  // namespace

int main(int argc, char** argv) {
  jade::NodeOptions options;
  options.data_dir = argc > 1 ? argv[1] : "./example-data";
  auto node = value_of(jade::Node::open(options));

  if (!node->describe_database("books")) {
    jade::DatabaseSpec spec;
    spec.name = "books";
    spec.dimension = 384;
    spec.embedder = "lexical";  // or leave it out and upsert vectors of your own
    value_of(node->create_database(spec));
  }

  jade::UpsertRequest books;
  books.database = "books";
  books.ids = {1, 2, std::string("c")};
  books.texts = {"The whale hunt of a captain at sea", "A detective walks the foggy streets",
                 "Cooking fish from the sea"};
  books.metadata = {R"({"year": 1851})", R"({"year": 1892})", R"({"year": 1990})"};
  value_of(node->upsert(books));

  jade::SearchRequest question;
  question.database = "books";
  question.text = "captains who hunted whales";
  question.filter = R"({"year": {"$lt": 1950}})";
  question.k = 2;
  for (const jade::SearchHit& hit : value_of(node->search(question)).results) {
    std::cout << hit.id.to_string() << "  " << hit.score << "  " << hit.metadata << "\n";
  }
  return node->close().ok() ? 0 : 1;
}
