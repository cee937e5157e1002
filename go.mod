module github.com/redial-dev/redial

go 1.26.0
